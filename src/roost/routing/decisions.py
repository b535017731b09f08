"""The last routing decisions, for `/roost/v1/decisions` and `roost explain`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """Why one request went where it went. Names only, never a prompt."""

    request_id: str
    #: Unix time.
    at: float
    requested: str
    role: str | None
    resolved: str
    node: str
    reason: str
    #: What became of each candidate before it was asked, a sentence each; empty: the name has none.
    steps: tuple[str, ...] = ()


class DecisionRing:
    """Keeps the newest `size` decisions."""

    def __init__(self, size: int = 256) -> None:
        self._kept: deque[Decision] = deque(maxlen=size)

    def record(self, decision: Decision) -> None:
        self._kept.append(decision)

    def recent(self, limit: int = 100) -> list[Decision]:
        """Newest first."""
        return list(reversed(self._kept))[: max(0, limit)]

"""What models may claim of a machine that somebody works at. Pure values; workers.coexistence decides on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Mode(StrEnum):
    #: As the settings say.
    FULL = "full"
    #: On battery, or others are busy.
    MODEST = "modest"
    #: Low-power mode, low charge, or memory pressure.
    MINIMAL = "minimal"


@dataclass(frozen=True)
class Claim:
    """None: no limit beside those of the settings."""

    mode: Mode = Mode.FULL
    #: A model goes once it has been idle for so long.
    idle_ttl_s: float | None = None
    #: Requests that one model may generate at once.
    sequences: int | None = None

    def of_one(self, *, pinned: bool) -> Claim:
        """Of one model; who is pinned keeps its time."""
        return replace(self, idle_ttl_s=None) if pinned else self

    def ttl_s(self, own_s: float) -> float:
        """The idle time of a model whose settings say `own_s`; 0: it stays."""
        if self.idle_ttl_s is None:
            return own_s
        return min(own_s, self.idle_ttl_s) if own_s else self.idle_ttl_s

    def most(self, concurrency: int) -> int:
        return concurrency if self.sequences is None else min(concurrency, self.sequences)


FULL = Claim()

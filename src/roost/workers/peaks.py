"""The most memory that starts were seen to take, by their way of starting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from roost.memory.learned import Learned, Run, after


@dataclass
class PeakBook:
    """What was learned so far; `keep` is told of each change, by key and model."""

    known: dict[str, Learned] = field(default_factory=dict)
    keep: Callable[[str, str, Learned], None] = field(default=lambda key, model_id, learned: None)

    def seen(self, key: str) -> int:
        """Host bytes; 0: never seen."""
        learned = self.known.get(key, Learned())
        return max(learned.peak.host_bytes if learned.peak else 0, learned.at_least_bytes)

    def add(self, key: str, model_id: str, run: Run) -> None:
        """One more run has ended."""
        before = self.known.get(key, Learned())
        self.known[key] = after(before, run, 0)
        if self.known[key] != before:
            self.keep(key, model_id, self.known[key])

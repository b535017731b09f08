"""A sensor that says of real processes that their memory is away, as a test wants."""

from __future__ import annotations

from dataclasses import dataclass, replace

from roost.host.memory_types import ProcessMemory
from roost.testing.memory import ScriptedMemory


@dataclass
class AwayMemory(ScriptedMemory):
    """Of every process, so much is added to what it has and said to be swapped out."""

    away_bytes: int = 0

    def process(self, pid: int) -> ProcessMemory | None:
        found = super().process(pid)
        return replace(found, swapped_bytes=self.away_bytes) if found else None

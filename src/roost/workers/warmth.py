"""Whether an idle model's memory is still in memory: a suspicion from sizes; what it costs, a token tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from roost.host.memory_types import ProcessMemory

#: Less than this is noise of libraries and heaps, whatever the share.
LEAST_AWAY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Warmth:
    """Of one worker since it was last known to be quick."""

    #: The most that it had, in memory or away.
    size_bytes: int = 0
    resident_bytes: int = 0

    @property
    def away_bytes(self) -> int:
        """Swapped out, compressed, or dropped from the cache of files."""
        return max(self.size_bytes - self.resident_bytes, 0)

    def seen(self, processes: Iterable[ProcessMemory]) -> Warmth:
        """After one more look. Linux tells what was swapped out; macOS a footprint that holds what was compressed;
        neither tells what was dropped of mapped files, so that the most ever seen is the measure."""
        found = tuple(processes)
        resident = sum(process.resident_bytes for process in found)
        now = sum(max(process.resident_bytes + process.swapped_bytes, process.private_bytes) for process in found)
        return Warmth(max(self.size_bytes, now), resident)

    def suspicious(self, share: float) -> bool:
        return self.away_bytes >= max(LEAST_AWAY_BYTES, share * self.size_bytes)


def cold_text(warmth: Warmth, probe_s: float) -> str:
    """For people."""
    mib = 2**20
    return (
        f"{warmth.away_bytes / mib:,.0f} of {warmth.size_bytes / mib:,.0f} MiB are swapped out, compressed or dropped, "
        f"and a token took more than {probe_s:g} s"
    )

"""Waits until the memory of a worker that has ended is seen to have come back to its GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from roost.host.memory_types import Gpu, MemorySensor, SensorFailed, UnreadableGpu
from roost.memory.budget import HOST
from roost.memory.ledger import Entry
from roost.memory.release import Release, Sight, judge
from roost.workers.allowed import gpu_free

#: How often memory that should come back is looked at.
RELEASE_LOOK_S = 0.1


@dataclass(frozen=True)
class GpuMarks:
    """Bytes free on a start's GPUs: before it was there (None: nobody looked), and when last seen resident (None: it
    never was)."""

    before: int | None = None
    resident: int | None = None

    def taken(self, promised_bytes: int) -> int:
        """What it took of its promise: one that ends while it loads has not taken it all. Others may have come and
        gone meanwhile, so that the promise is the most."""
        if self.resident is None:
            return 0
        return promised_bytes if self.before is None else min(max(self.before - self.resident, 0), promised_bytes)


async def returned(sensor: MemorySensor, entry: Entry, marks: GpuMarks) -> bool:
    """False: it was waited for in vain."""
    waited_s = 0.0
    while True:
        match await asyncio.to_thread(_judged, sensor, entry, marks, waited_s):
            case Release.DONE:
                return True
            case Release.HALT:
                return False
        await asyncio.sleep(RELEASE_LOOK_S)
        waited_s += RELEASE_LOOK_S


def _judged(sensor: MemorySensor, entry: Entry, marks: GpuMarks, waited_s: float) -> Release:
    """Blocking."""
    promised = sum(size for device, size in entry.bytes_by_device.items() if device != HOST)
    taken = marks.taken(promised)
    if not taken:
        return Release.DONE
    return judge(Sight(True, 0, 0, 0, 0, taken, marks.resident or 0, _free(sensor, entry)), waited_s)


def _free(sensor: MemorySensor, entry: Entry) -> int:
    try:
        gpus: Iterable[Gpu | UnreadableGpu] = sensor.gpus()
    except SensorFailed:
        return 0
    return gpu_free(gpus, entry.bytes_by_device)

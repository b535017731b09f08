"""Signs of life of a worker: what tells a slow load or a long prefill from a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from roost.engines.types import Health, Healthy
from roost.host.types import Usage
from roost.workers.wedge import RunningView, Window, is_wedged, silent_since


def moved(last: tuple[Usage, int], now: tuple[Usage, int]) -> bool:
    """Any sign of life between two samples; a little CPU is only the polling."""
    (before, lines_before), (after, lines_after) = last, now
    return (
        after.cpu_s - before.cpu_s > 0.05
        or after.resident_bytes != before.resident_bytes
        or after.io_bytes - before.io_bytes > 2**20
        or lines_after != lines_before
    )


@dataclass(frozen=True)
class Patient:
    """What can be asked about a worker that looks dead."""

    running: Callable[[], Iterable[RunningView]]
    measure: Callable[[], Usage]
    health: Callable[[], Awaitable[Health]]
    is_stopped: Callable[[], bool]
    #: False: not our process, so that only its own health route can tell.
    supervised: bool
    stall_s: float

    def busy(self) -> bool:
        return any(True for _ in self.running())

    def silent(self) -> bool:
        return silent_since(self.running(), self.stall_s, asyncio.get_running_loop().time()) is not None


async def is_dead(patient: Patient) -> bool:
    """Both signals: silence beyond the deadline, then a window without work. Any progress in it and it lives."""
    if not patient.silent():
        return False
    window_s = min(5.0, patient.stall_s / 2)
    before = await asyncio.to_thread(patient.measure)
    await asyncio.sleep(window_s)
    if not patient.silent():
        return False
    after = await asyncio.to_thread(patient.measure)
    health_failed = not isinstance(await patient.health(), Healthy)
    if not patient.supervised:
        return health_failed
    return is_wedged(Window(window_s, after.cpu_s - before.cpu_s, patient.is_stopped(), health_failed))

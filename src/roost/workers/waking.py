"""A parked worker is to serve again: its memory is promised as that of any load, or it stays parked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from roost.errors import InsufficientMemory
from roost.workers.allowed import Spared
from roost.workers.gate import Gate
from roost.workers.lifecycle import Event
from roost.workers.run import WorkerRun
from roost.workers.start import StartOrder
from roost.workers.station import Station


@dataclass(frozen=True)
class _Woken:
    """No spare becomes a worker that has its process; one may still go to make room."""

    spares: Spared

    def names(self) -> frozenset[str]:
        return self.spares.names()

    def becoming(self, order: StartOrder) -> frozenset[str]:
        return frozenset()

    async def give_up(self, but: frozenset[str]) -> bool:
        return await self.spares.give_up(but)


async def wake(
    station: Station,
    run: WorkerRun,
    gate: Gate,
    spared: Spared,
    refused: Callable[[Station, InsufficientMemory], None],
    post: Callable[[Station, int, Event], None],
) -> None:
    number, start, warm = station.number, station.start_id, station.warms
    try:
        admission = await gate.admit(start, run.order, station.effective, _Woken(spared))
    except InsufficientMemory as error:
        refused(station, error)
        post(station, number, Event.PARKED)
        return
    if station.number != number or not station.coming or admission.order != run.order:
        # Gone meanwhile; or what fits now is less than it was started with, which a new start can have.
        await gate.ended(start, clean=False)
        post(station, number, Event.DRAIN)
        return
    station.admission = admission
    gate.started(start, lambda: run.pid)
    run.wake(warm=warm)

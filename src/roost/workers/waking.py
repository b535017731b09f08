"""A parked worker is to serve again: its memory is promised as that of any load, or it stays parked."""

from __future__ import annotations

from collections.abc import Callable

from roost.errors import InsufficientMemory
from roost.workers.gate import Gate
from roost.workers.lifecycle import Event
from roost.workers.run import WorkerRun
from roost.workers.station import Station


async def wake(
    station: Station,
    run: WorkerRun,
    gate: Gate,
    refused: Callable[[Station, InsufficientMemory], None],
    post: Callable[[Station, int, Event], None],
) -> None:
    number, start = station.number, station.start_id
    try:
        admission = await gate.admit(start, run.order, station.effective)
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
    run.wake()

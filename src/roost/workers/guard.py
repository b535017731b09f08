"""The guard: looks at the machine's memory while anything is loaded, asks the tripwire, and acts through the pool.

Every level stops new loads. From the second on what waits as a batch is answered and idle workers go; at the third one
worker at a time is ended, an offender first, then the largest that is not pinned. It runs in the daemon: a worker that
holds its own interpreter for a whole load cannot hold this. What it does is always logged with its reasons.
"""

from __future__ import annotations

import asyncio
import math

import structlog

from roost.errors import InsufficientMemory
from roost.host.memory_types import HostMemory, SensorFailed
from roost.memory.admission import RETRY_AFTER_S
from roost.memory.budget import GIB, host_limits, watchdog_reserve
from roost.memory.tripwire import Level, Observation, Tripwire, called_for, step
from roost.workers.answers import fail
from roost.workers.floor import Floor
from roost.workers.lifecycle import Event, State
from roost.workers.orders import World
from roost.workers.station import Station

log = structlog.get_logger(__name__)

#: How often it looks, and what an ended worker's memory gets to come back before another is ended.
PERIOD_S = 1.0
NEXT_KILL_S = 3.0


class Guarded(Floor):
    """The floor under guard."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._alarm = Tripwire()
        self._before: HostMemory | None = None
        self._killed_at = -math.inf

    def memory_problem(self) -> str | None:
        """What the alarm is about, for status; None: none."""
        if self._alarm.level is Level.GREEN:
            return None
        return f"memory is short ({self._alarm.level.name.lower()}): {'; '.join(self._alarm.reasons)}"

    async def _watch_memory(self) -> None:
        """Until cancelled. Nothing is looked at while nothing is loaded and nothing is wrong."""
        while True:
            await asyncio.sleep(PERIOD_S)
            if self._gate.book.entries or self._alarm.level:
                await self._look_at_memory()
            else:
                self._before = None

    async def _look_at_memory(self) -> None:
        seen = await self._observed()
        before, self._alarm = self._alarm, step(self._alarm, seen)
        if self._alarm.level is not before.level:
            log.warning("memory alarm", level=self._alarm.level.name, reasons=self._alarm.reasons)
        self._gate.closed = self.memory_problem()
        if self._alarm.level is not before.level:
            self._spares.consider()
        # A level stays for a while after its cause has gone: nobody is unloaded or ended for what is over.
        acting = min(self._alarm.level, max(called_for(seen), default=Level.GREEN))
        if acting >= Level.ORANGE:
            self._shed()
            self._unload_idle()
        if acting is Level.RED and self.now() - self._killed_at >= NEXT_KILL_S:
            self._end_one(seen.over_kill_line)

    async def _observed(self) -> Observation:
        try:
            await self._gate.sample()
            memory = await asyncio.to_thread(self._world.memory.memory)
        except SensorFailed as error:
            return Observation(self.now(), None, str(error))
        before, self._before = self._before or memory, memory
        limits = host_limits(self._world.settings().memory, memory.total_bytes)
        return Observation(
            self.now(),
            memory.available_bytes,
            floor_bytes=limits.floor_bytes,
            reserve_bytes=watchdog_reserve(),
            swapped_out_bytes=max(memory.swap.out_bytes - before.swap.out_bytes, 0),
            compressed_bytes=max((memory.compressed_bytes or 0) - (before.compressed_bytes or 0), 0),
            some_percent=memory.pressure.some_percent,
            full_percent=memory.pressure.full_percent,
            pressure_level=memory.pressure.level,
            has_resident=bool(self._gate.book.entries),
            over_kill_line=self._gate.offenders(limits.day_bytes),
        )

    def _shed(self) -> None:
        """What waits as a batch is answered: it can come again."""
        error = InsufficientMemory(
            f"cannot serve a batch now: {self.memory_problem()}", should_retry=True, retry_after_s=RETRY_AFTER_S
        )
        for station in self._stations.values():
            for place in [place for place in station.waiting if place.entry.is_batch]:
                station.waiting.remove(place)
                fail(place.granted, error)

    def _unload_idle(self) -> None:
        pinned = self._world.settings().residency.pinned
        for station in tuple(self._stations.values()):
            stays = station.running or station.waiting or station.model_id in pinned
            is_here = station.start_id in self._gate.book.entries
            if station.state is State.READY and is_here and not stays:
                log.warning("unloaded for memory", model=station.model_id, reasons=self._alarm.reasons)
                station.left_at = self.now()
                self._post(station, Event.DRAIN)

    def _end_one(self, offenders: tuple[str, ...]) -> None:
        """Whatever it does now: its clients learn why from the end of their connections."""
        pinned = self._world.settings().residency.pinned
        live = [station for station in self._stations.values() if station.run and station.run.pid is not None]
        chosen = [s for s in live if s.start_id in offenders] or [s for s in live if s.model_id not in pinned]
        if chosen:
            self._end(max(chosen, key=lambda station: self._gate.private_bytes(station.start_id)), offenders)

    def _end(self, station: Station, offenders: tuple[str, ...]) -> None:
        assert station.run is not None
        start, self._killed_at = station.start_id, self.now()
        taken = self._gate.private_bytes(start)
        if start in offenders:
            self._gate.tripped(start, taken)
        reason = f"was ended with {taken / GIB:.1f} GiB: {self.memory_problem()}"
        log.error("ended for memory", model=station.model_id, bytes=taken, reasons=self._alarm.reasons)
        station.run.ended_for = reason
        station.run.kill()

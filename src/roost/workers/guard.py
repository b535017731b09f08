"""The guard: looks at the machine's memory while anything is loaded, asks the tripwire, and acts through the pool.

What each level does stands in the table of `memory.tripwire`. The first stops new loads, lets a loaded model have one
request at a time, answers what waits as a batch, and has idle workers drop their cached prompts. From the second on
nothing is taken, batches that run are cancelled, the newest first, and idle workers go; at the third the newest of all
requests is cancelled too, and one worker at a time is ended, an offender first, then the largest that is not pinned. It
runs in the daemon: a worker that holds its own interpreter for a whole load cannot hold this; each
worker's own lines are held by its guardian. What it does is always told, in the log and the status, with its reasons.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

import structlog

from roost.errors import ConcurrencyLimit, InsufficientMemory, RoostError
from roost.host.memory_types import HostMemory, SensorFailed
from roost.memory.admission import RETRY_AFTER_S
from roost.memory.budget import GIB, host_limits, watchdog_reserve
from roost.memory.tripwire import Action, Level, Observation, Tripwire, actions, step
from roost.workers.answers import fail
from roost.workers.emptying import can_drop_caches, drop_caches
from roost.workers.floor import Floor
from roost.workers.lifecycle import Event, State
from roost.workers.orders import World
from roost.workers.station import Station
from roost.workers.types import Entry

log = structlog.get_logger(__name__)

#: How often it looks, and what an ended worker's memory gets to come back before another is ended.
PERIOD_S = 1.0
NEXT_KILL_S = 3.0
#: While nothing is wrong workers are looked at every so many looks: kernels keep their peaks, guardians their lines.
CALM_LOOKS = 5
#: How much of what was done is told.
MOST_TOLD = 5


class Guarded(Floor):
    """The floor under guard."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._alarm = Tripwire()
        self._before: HostMemory | None = None
        self._looks = 0
        self._killed_at = -math.inf
        #: What was done since the alarm rose.
        self._done: deque[str] = deque(maxlen=MOST_TOLD)

    def memory_problem(self) -> str | None:
        """What the alarm is about and what was done, for status; None: none."""
        done = f"; done: {', '.join(self._done)}" if self._done else ""
        return None if self._alarm.level is Level.GREEN else f"{self._cause()}{done}"

    def _cause(self) -> str:
        return f"memory is short ({self._alarm.level.name.lower()}): {'; '.join(self._alarm.reasons)}"

    def _refusal_by_memory(self, station: Station, entry: Entry) -> RoostError | None:
        """A further request is further memory; at the first level a model goes on with one at a time."""
        if self._alarm.level is Level.GREEN or self._is_elsewhere(station):
            return None
        alone = not (station.running or station.waiting or entry.is_batch)
        if self._alarm.level is Level.YELLOW and alone:
            return None
        return ConcurrencyLimit(f"cannot serve {station.model_id} now: {self._cause()}", retry_after_s=RETRY_AFTER_S)

    def _is_elsewhere(self, station: Station) -> bool:
        model = self._world.settings().models.get(station.model_id)
        return model is not None and model.external is not None

    def _tell(self, what: str, station: Station, **more: object) -> None:
        log.warning(what, model=station.model_id, reasons=self._alarm.reasons, **more)
        self._done.append(f"{what} {station.model_id}")

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
        self._gate.closed = None if self._alarm.level is Level.GREEN else self._cause()
        if self._alarm.level is not before.level:
            self._spares.consider()
        if self._alarm.level is Level.GREEN:
            self._done.clear()
        doing = actions(self._alarm, seen)
        for action in doing:
            self._do(action, doing, seen)

    def _do(self, action: Action, doing: tuple[Action, ...], seen: Observation) -> None:
        """Admitting is stopped for as long as the level lasts: by the gate, and by `_refusal_by_memory`."""
        match action:
            case Action.SHED_BATCH:
                self._shed()
            case Action.CANCEL_BATCH if Action.CANCEL_NEWEST not in doing:  # one a look, whoever may be chosen
                self._cancel_newest(batches_only=True)
            case Action.CANCEL_NEWEST:
                self._cancel_newest(batches_only=False)
            case Action.UNLOAD_IDLE:
                self._unload_idle()
            case Action.DROP_CACHES:
                self._drop_caches()
            case Action.KILL_LARGEST if self.now() - self._killed_at >= NEXT_KILL_S:
                self._end_one(seen.over_kill_line)

    async def _observed(self) -> Observation:
        try:
            self._looks += 1
            if self._alarm.level or self._looks % CALM_LOOKS == 0 or self._gate.has_unseen():
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
            f"cannot serve a batch now: {self._cause()}", should_retry=True, retry_after_s=RETRY_AFTER_S
        )
        for station in self._stations.values():
            for place in [place for place in station.waiting if place.entry.is_batch]:
                station.waiting.remove(place)
                fail(place.granted, error)
                self._tell("answered a waiting batch of", station)

    def _cancel_newest(self, *, batches_only: bool) -> None:
        """One a look: it ends at once before its first byte, then with its next token. What has no end of its own
        sends none."""
        running = [
            (place.sent_at, place.arrival, place, station)
            for station in self._stations.values()
            for place in station.running
            if place.revoked is None and not place.entry.open_ended and not self._is_elsewhere(station)
        ]
        batches = [one for one in running if one[2].entry.is_batch]
        chosen = batches or ([] if batches_only else running)
        if chosen:
            *_, place, station = max(chosen, key=lambda one: one[:2])
            place.revoke(
                InsufficientMemory(
                    f"{station.model_id} was stopped in mid-answer: {self._cause()}",
                    should_retry=True,
                    retry_after_s=RETRY_AFTER_S,
                )
            )
            self._tell("cancelled a request of", station)

    def _unload_idle(self) -> None:
        pinned = self._world.settings().residency.pinned
        for station in tuple(self._stations.values()):
            stays = station.running or station.waiting or station.model_id in pinned
            is_here = station.start_id in self._gate.book.entries
            if station.state is State.READY and is_here and not stays:
                self._tell("unloaded", station)
                station.left_at = self.now()
                self._post(station, Event.DRAIN)

    def _drop_caches(self) -> None:
        """Once for each time that a worker rests: nothing is cached until it is asked something."""
        for station in self._stations.values():
            rests = station.state is State.READY and not (station.running or station.waiting)
            if rests and station.emptied_at != station.last_active and can_drop_caches(station.run):
                station.emptied_at = station.last_active
                self._begin(self._empty(station), f"caches of {station.model_id}")

    async def _empty(self, station: Station) -> None:
        if station.run is not None and await drop_caches(station.run):
            self._tell("dropped the caches of", station)

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
        reason = f"was ended with {taken / GIB:.1f} GiB: {self._cause()}"
        self._tell("ended", station, bytes=taken)
        station.run.ended_for = reason
        station.run.kill()

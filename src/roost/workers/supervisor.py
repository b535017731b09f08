"""The pool: the one owner of all workers, as requests and people meet it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import takewhile

import structlog

from roost.errors import ModelLoading, ModelNotResident, RoostError, ShuttingDown
from roost.memory.budget import HOST
from roost.workers import residency
from roost.workers.answers import (
    answer_wanted,
    fail_waiting,
    failed_start,
    insert_by_priority,
    new_future,
    not_resident,
    queue_full,
    was_unloaded,
)
from roost.workers.lifecycle import OCCUPYING, STARTABLE, Event, State, allows
from roost.workers.logs_path import worker_log_name
from roost.workers.orders import World, effective_command, start_order
from roost.workers.residency import Kind
from roost.workers.station import Place, Station
from roost.workers.tickets import RequestTicket
from roost.workers.types import Entry, Phase, Progress, WaitingSpare, WorkerView
from roost.workers.views import worker_view
from roost.workers.wedge import talk_deadline_s
from roost.workers.yielding import Yielding

log = structlog.get_logger(__name__)

#: How long a broken connection waits to learn whether its worker is gone.
LOSS_SETTLES_S = 2.0
#: At shutdown, what SIGTERM gets before the tree is killed: stopping takes at most drain_s and this.
CLOSE_GRACE_S = 4.0
#: No process of the model is there.
_NOTHING_RUNS = frozenset({State.STOPPED, State.BACKOFF, State.FAILED})


class Supervisor(Yielding):
    """See `workers.types.Pool`. `run` must be running while anything is asked of it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._closed = asyncio.Event()

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Holds every start in one task group until `close` has ended them."""
        async with asyncio.TaskGroup() as self._tasks:
            watch = self._tasks.create_task(self._watch_memory(), name="memory")
            if started:
                started.set()
            self._spares.refresh_soon()
            await self._closed.wait()
            watch.cancel()

    # Requests.

    def enter(self, model_id: str, entry: Entry) -> RequestTicket:
        """A place in line for a model; refuses at once what cannot be served."""
        if self._draining:
            raise ShuttingDown("cannot take new requests: roost is shutting down", retry_after_s=5)
        station = self._station(model_id)
        entry, most = self._as_the_settings_say(model_id, entry)
        refused = failed_start(station, self.now()) or queue_full(station, most)
        if refused := refused or self._refusal_by_policy(station) or self._refusal_by_memory(station, entry):
            raise refused
        if not entry.wait_for_load and station.state is not State.READY:
            self._want(station)
            raise ModelLoading(f"{model_id} is loading{_percent(station)}; try again shortly", retry_after_s=2)
        place = Place(entry, self.now(), new_future())
        self._line_up(station, place)
        return RequestTicket(self, station, place)

    def _as_the_settings_say(self, model_id: str, entry: Entry) -> tuple[Entry, int]:
        """The entry with its model's priority, and how many requests the model may have."""
        settings = self._world.settings()
        model = settings.models.get(model_id)
        if model is None:
            return entry, settings.queue.max_requests
        if model.priority:
            entry = replace(entry, priority=entry.priority - model.priority)
        return entry, model.max_requests or settings.queue.max_requests

    def _line_up(self, station: Station, place: Place) -> None:
        insert_by_priority(station, place)
        if station.state is not State.READY or self._others_wait(station):
            self._replan()
        else:
            self._dispatch(station)

    def _others_wait(self, station: Station) -> bool:
        """Then only the plan may say who is next; else the line of a READY model is all that matters to it."""
        return any(
            other.waiting or other.wanted_since is not None for other in self._stations.values() if other is not station
        )

    def leave(self, station: Station, place: Place) -> None:
        if place.left:
            return
        place.left = True
        if place in station.running:
            station.running.discard(place)
            station.last_active = self.now()
        elif place in station.waiting:
            station.waiting.remove(place)
        place.granted.cancel()
        if station.matters_to_the_plan or self._others_wait(station):
            self._replan()
        elif station.waiting:
            self._dispatch(station)

    async def settled(self, place: Place, error: Exception) -> None:
        """The upstream broke: waits until it is known whether the worker died."""
        if place.run is not None:
            await place.run.settled(LOSS_SETTLES_S, error)

    async def retry(self, station: Station, place: Place, error: Exception) -> bool:
        """The upstream broke before its first byte: wait until it is known whether the worker died, then line up
        again, first in line. False when the worker was killed for a wedge or for memory, or nothing can be started or
        reached."""
        run = place.run
        if run is None:
            return False
        await self.settled(place, error)
        lost_for_good = run.ended_for or run.unreachable or self._draining or place.left
        if lost_for_good or failed_start(station, self.now()) is not None:
            return False
        station.running.discard(place)
        place.granted = new_future()
        station.waiting.appendleft(place)
        self._replan()
        return True

    def overdue(self, station: Station, place: Place) -> bool:
        """Whether what the worker sends for this request has held no token for too long."""
        if place.run is None:
            return False
        knobs, last = place.run.order.knobs, place.sent_at if place.last_beat is None else place.last_beat
        prompt_bytes = sum(other.entry.prompt_bytes for other in station.running)
        may_load_s = 0.0 if place.run.supervised else knobs.load_deadline_s
        return self.now() - last > talk_deadline_s(prompt_bytes, knobs.stall_s, may_load_s)

    def progress_of(self, station: Station, place: Place) -> Progress:
        if place in station.running:
            return Progress(Phase.READY)
        position = station.position(place)
        if station.coming:
            return Progress(Phase.LOADING, position, station.run.fraction if station.run else None)
        others_leave = any(s.state in (State.DRAINING, State.STOPPING) for s in self._stations.values())
        if position is not None and station.state in STARTABLE:
            position += self._requests_before(station)
        phase = Phase.STOPPING_OTHER if others_leave else Phase.QUEUED
        return Progress(phase, position, resident=station.state is State.READY)

    def _in_line(self) -> list[residency.ModelView]:
        return residency.in_line(self._views(), self._rules(), self.now())

    def _requests_before(self, station: Station) -> int:
        """Those that wait for models whose turn comes before this one's."""
        before = takewhile(lambda view: view.model_id != station.model_id, self._in_line())
        return sum(len(view.waiting) for view in before)

    def _refusal_by_policy(self, station: Station) -> RoostError | None:
        # A model that has its place is refused to nobody: no need to look at the others.
        if station.state in OCCUPYING:
            return None
        limits = self._rules()
        if station.kind is Kind.AUXILIARY and not limits.layout.names(station.model_id):
            return None
        home = self._world.is_home(station.model_id)
        refused = residency.refusal(station.model_id, self._views(), limits, self.now(), home=home)
        return not_resident(station.model_id, refused, limits) if refused else None

    # What people ask for by name.

    async def load(self, model_id: str) -> None:
        if self._draining:
            raise ShuttingDown("cannot load: roost is shutting down", retry_after_s=5)
        station = self._station(model_id)
        if allows(station.state, Event.RESET):
            station.failures.clear()
            self._post(station, Event.RESET)
        if station.state is not State.READY:
            await self._want(station)

    def _want(self, station: Station) -> asyncio.Future[None]:
        if station.wanted_since is None:
            station.wanted_since = self.now()
        future = new_future()
        station.wanted_by.append(future)
        self._replan()
        return future

    async def unload(self, model_id: str) -> None:
        station = self._stations.get(model_id)
        if station is None:
            return
        answer_wanted(station, ModelNotResident(f"{model_id} was unloaded while it loaded"))
        station.gave_way = False
        if station.state is State.STOPPED:
            # Whoever is still in line would only load it again.
            fail_waiting(station, was_unloaded(model_id))
            self._replan()
        elif allows(station.state, Event.DRAIN):
            station.unloading = True
            await self._drain(station, self._world.settings().drain_s)

    async def restart(self, model_id: str | None = None) -> None:
        names = [model_id] if model_id else [s.model_id for s in self._stations.values() if s.state is State.READY]
        await asyncio.gather(*(self._restart_one(self._station(name)) for name in names))

    async def _restart_one(self, station: Station) -> None:
        if allows(station.state, Event.DRAIN):
            station.restart = True
            await self._drain(station, self._world.settings().drain_s)
        await self.load(station.model_id)

    async def reconsider(self) -> None:
        """After a change of settings, registry or catalog: restarts the residents whose effective command changed, each
        once its running requests are over, and touches nothing else. A worker that could not be started with the
        changed settings goes on with the old ones. A model whose starts failed may be started anew at once when they
        failed with another command: who mended it waits for no back-off."""
        for station in tuple(self._stations.values()):
            if self._forgotten(station):
                if station.state in (State.READY, State.PARKED):
                    log.info("ending: its model is not known any more", model=station.model_id)
                    self._post(station, Event.DRAIN)
            elif station.state in (State.BACKOFF, State.FAILED):
                if await self._changed(station):
                    log.info("may be started with changed settings", model=station.model_id)
                    station.failures.clear()
                    self._post(station, Event.RESET)
            elif station.state is State.PARKED and await self._changed(station):
                self._post(station, Event.DRAIN)
            elif station.state is State.READY and await self._changed(station):
                log.info("restarting with changed settings", model=station.model_id)
                station.restart = True
                self._post(station, Event.DRAIN)
        self._replan()
        await self._spares.refresh()

    def _forgotten(self, station: Station) -> bool:
        """Whether nobody can ask for it any more: its model was removed, not only its volume."""
        return self._world.catalog.get(station.model_id) is None

    async def _changed(self, station: Station) -> bool:
        number, state = station.number, station.state
        try:
            order = await asyncio.to_thread(start_order, self._world, station.model_id)
            effective = await asyncio.to_thread(effective_command, order)
        except RoostError as error:
            log.warning("changed settings cannot be used", model=station.model_id, reason=error.message)
            return False
        same_start = number == station.number and station.state is state
        return same_start and effective != station.effective

    def _drain(self, station: Station, drain_s: float) -> asyncio.Future[None]:
        """Closes it to new requests and ends it once those that run are over, or cut off after `drain_s`. A swap
        posts DRAIN without a deadline instead: it never cuts."""
        gone = new_future()
        station.gone_waiters.append(gone)
        station.drain_deadline = self.now() + drain_s
        self._post(station, Event.DRAIN)
        return gone

    async def close(self, drain_s: float) -> None:
        """Refuses new requests, answers the waiting ones, drains the running ones for at most `drain_s`, ends all.
        A second call, with 0, ends them at once."""
        self._draining = True
        self._spares.close()
        self._gate.close()
        gone = []
        for station in self._stations.values():
            station.restart = False  # one that is being restarted would come back, and nobody would end it
            fail_waiting(station, ShuttingDown("cannot serve: roost is shutting down", retry_after_s=5))
            answer_wanted(station, ShuttingDown("cannot load: roost is shutting down", retry_after_s=5))
            if allows(station.state, Event.DRAIN):
                gone.append(self._drain(station, drain_s))
        if gone:
            await asyncio.wait(gone, timeout=drain_s + CLOSE_GRACE_S if drain_s else 0)
            self._kill_all()
            await asyncio.wait(gone)
        if self._timer:
            self._timer.cancel()
        self._closed.set()

    def _kill_all(self) -> None:
        for station in self._stations.values():
            if station.run:
                station.run.kill()

    # Reports.

    def views(self) -> tuple[WorkerView, ...]:
        places = {view.model_id: place for place, view in enumerate(self._in_line(), 1)}
        shown = (station for station in self._stations.values() if self._is_shown(station))
        return tuple(
            worker_view(station, self.now(), places.get(station.model_id), self._gate.held_by(station.start_id))
            for station in shown
        )

    def _is_shown(self, station: Station) -> bool:
        if station.waiting or station.state not in _NOTHING_RUNS:
            return True
        return station.number > 0 and not self._forgotten(station)

    def promised_bytes(self) -> int:
        """Of the host's memory, to all workers together."""
        return self._gate.book.reserved_on(HOST)

    def seen_bytes(self, model_id: str) -> int:
        """The most that the running worker of a model was seen to take of the host's memory; 0: not seen yet."""
        station = self._stations.get(model_id)
        return self._gate.seen_bytes(station.start_id) if station else 0

    def spares(self) -> tuple[WaitingSpare, ...]:
        return self._spares.views()

    def log_path(self, worker: str) -> str | None:
        # A name from a request is looked for, never opened: it could be a path, or longer than a file name may be.
        present = {path.stem: path for path in self._world.paths.logs.glob("*.log") if path.is_file()}
        found = present.get(worker) or present.get(worker_log_name(worker))
        return str(found) if found else None


def _percent(station: Station) -> str:
    fraction = station.run.fraction if station.run else None
    return f", {fraction:.0%}" if fraction is not None else ""

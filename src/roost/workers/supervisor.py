"""The pool: the one owner of all workers. It asks the pure plan what to do after each fact, and does it.

Every change of state goes through `_post` and the table of lifecycle.py. All of it runs in the event loop's thread,
so that a request takes its place in line, and a fact its effect, in one step that nothing can come between.
"""

from __future__ import annotations

import asyncio

import structlog

from roost.errors import (
    ModelLoading,
    ModelNotResident,
    RoostError,
    ShuttingDown,
    UpstreamCrashed,
    WorkerFailed,
)
from roost.workers import backoff, residency
from roost.workers.answers import (
    answer_wanted,
    fail_waiting,
    failed_start,
    insert_by_priority,
    new_future,
    not_resident,
    queue_full,
    tell_gone,
)
from roost.workers.lifecycle import Effect, Event, State, allows, step
from roost.workers.logs_path import worker_log_name
from roost.workers.orders import World, find_spec, rules, run_paths, start_order
from roost.workers.residency import Kind, ModelView
from roost.workers.run import WorkerRun
from roost.workers.station import Place, Station
from roost.workers.tickets import RequestTicket
from roost.workers.types import Entry, Phase, Progress, WorkerView
from roost.workers.views import worker_view

log = structlog.get_logger(__name__)

#: How long a broken connection waits to learn whether its worker is gone.
LOSS_SETTLES_S = 2.0
#: At shutdown, what SIGTERM gets before the tree is killed: stopping takes at most drain_s and this.
CLOSE_GRACE_S = 4.0


class Supervisor:
    """See `workers.types.Pool`. `run` must be running while anything is asked of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stations: dict[str, Station] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = asyncio.Event()
        self._draining = False
        self._planning = False
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Holds every start in one task group until `close` has ended them."""
        async with asyncio.TaskGroup() as self._tasks:
            if started:
                started.set()
            await self._closed.wait()

    # Requests.

    def enter(self, model_id: str, entry: Entry) -> RequestTicket:
        """A place in line for a model; refuses at once what cannot be served."""
        if self._draining:
            raise ShuttingDown("cannot take new requests: roost is shutting down", retry_after_s=5)
        station = self._station(model_id)
        settings = self._world.settings()
        refused = failed_start(station, self.now()) or queue_full(station, settings.queue.max_requests)
        if refused := refused or self._refusal_by_policy(station):
            raise refused
        if not entry.wait_for_load and station.state is not State.READY:
            self._want(station)
            raise ModelLoading(f"{model_id} is loading{_percent(station)}; try again shortly", retry_after_s=2)
        place = Place(entry, self.now(), new_future())
        self._line_up(station, place)
        return RequestTicket(self, station, place)

    def _line_up(self, station: Station, place: Place) -> None:
        free = station.state is State.READY and not station.waiting and len(station.running) < station.concurrency
        if free and not self._somebody_waits():
            self._grant(station, place)
            return
        insert_by_priority(station, place)
        self._replan()

    def _somebody_waits(self) -> bool:
        """Then only the plan may say who is next."""
        return any(station.waiting or station.wanted_since is not None for station in self._stations.values())

    def _grant(self, station: Station, place: Place) -> None:
        assert station.run is not None and station.run.ready is not None
        place.run, place.sent_at, place.last_beat = station.run, self.now(), None
        station.running.add(place)
        station.last_active = place.sent_at
        if not place.granted.done():
            place.granted.set_result(station.run.ready)

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
        self._replan()

    async def retry(self, station: Station, place: Place) -> bool:
        """The upstream broke before its first byte: wait until it is known whether the worker died, then line up
        again, first in line. False when the worker was killed for a wedge, or nothing can be started."""
        run = place.run
        if run is None:
            return False
        await run.settled(LOSS_SETTLES_S)
        lost_for_good = run.wedged or self._draining or place.left or failed_start(station, self.now()) is not None
        if lost_for_good:
            return False
        station.running.discard(place)
        place.granted = new_future()
        station.waiting.appendleft(place)
        self._replan()
        return True

    def progress_of(self, station: Station, place: Place) -> Progress:
        if place in station.running:
            return Progress(Phase.READY)
        position = station.position(place)
        if station.coming:
            return Progress(Phase.LOADING, position, station.run.fraction if station.run else None)
        others_leave = any(s.state in (State.DRAINING, State.STOPPING) for s in self._stations.values())
        return Progress(Phase.STOPPING_OTHER if others_leave else Phase.QUEUED, position)

    def _refusal_by_policy(self, station: Station) -> RoostError | None:
        if station.kind is Kind.AUXILIARY:
            return None
        limits = rules(self._world.settings())
        home = self._world.is_home(station.model_id)
        refused = residency.refusal(station.model_id, self._views(), limits, self.now(), home=home)
        return not_resident(station.model_id, refused, limits) if refused else None

    # The plan, and doing it.

    def _views(self) -> list[ModelView]:
        pinned = self._world.settings().residency.pinned
        return [station.view(pinned=station.model_id in pinned) for station in self._stations.values()]

    def _replan(self) -> None:
        """Runs the plan until it asks for nothing more. A change made while it acts is seen by its next round."""
        if self._planning:
            return
        self._planning = True
        try:
            while True:
                self._finish_drains()
                plan = residency.plan(self._views(), rules(self._world.settings()), self.now())
                if not self._act(plan):
                    break
        finally:
            self._planning = False
        self._wake_at(plan.wake_at)

    def _act(self, plan: residency.Plan) -> bool:
        """Does what the plan says; whether it changed a state, so that the plan must be asked again."""
        for model_id in plan.drain:
            self._post(self._stations[model_id], Event.DRAIN)
        for model_id in plan.start:
            self._post(self._stations[model_id], Event.START)
        for model_id, free in plan.dispatch.items():
            station = self._stations[model_id]
            for _ in range(free):
                self._grant(station, station.waiting.popleft())
        return bool(plan.drain or plan.start)

    def _finish_drains(self) -> None:
        now = self.now()
        for station in self._stations.values():
            if station.state is State.DRAINING:
                if not station.running:
                    self._post(station, Event.DRAINED)
                elif station.drain_deadline is not None and now >= station.drain_deadline:
                    self._post(station, Event.DRAIN_TIMEOUT)

    def _wake_at(self, planned: float | None) -> None:
        """One timer for all that time alone may change."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        draining = (s.drain_deadline for s in self._stations.values() if s.state is State.DRAINING)
        due = min((time for time in (planned, *draining) if time is not None), default=None)
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due + 0.001, self._replan)

    def _post(self, station: Station, event: Event) -> None:
        """The only way to another state."""
        station.state, effect = step(station.state, event)
        log.info("worker", model=station.model_id, start=station.number, fact=event.value, state=station.state.value)
        match effect:
            case Effect.SPAWN:
                self._spawn(station)
            case Effect.PROVE if station.run:
                station.run.begin_proof()
            case Effect.ADMIT:
                self._admit(station)
            case Effect.TERMINATE if station.run:
                station.run.terminate()
            case Effect.KILL if station.run:
                station.run.kill()
        self._replan()

    def _post_if_current(self, station: Station, number: int, event: Event) -> None:
        """A fact from a start: dropped when it speaks of an earlier one, or comes too late to matter."""
        if number == station.number and allows(station.state, event):
            self._post(station, event)

    def _admit(self, station: Station) -> None:
        station.ready_since = station.last_active = self.now()
        station.failures.clear()
        station.last_failure = station.retry_at = None
        answer_wanted(station, None)

    # One start, and its end.

    def _spawn(self, station: Station) -> None:
        station.number += 1
        station.unloading = station.restart = False
        station.run = None
        assert self._tasks is not None
        start = self._one_start(station, station.number)
        self._tasks.create_task(start, name=f"worker {station.model_id} #{station.number}")

    async def _one_start(self, station: Station, number: int) -> None:
        """From START to gone. One of the three borders where any exception is answered: it fails this start alone."""
        try:
            warm = station.wanted_since is not None
            order = await asyncio.to_thread(start_order, self._world, station.model_id, warm=warm)
            station.run = WorkerRun(
                order,
                self._world.host,
                run_paths(self._world, station.model_id),
                lambda event: self._post_if_current(station, number, event),
                lambda: [place.running_view() for place in station.running],
            )
            if station.coming:  # else it was unloaded before it began
                await station.run.main()
        except RoostError as error:
            self._start_failed(station, error)
        except Exception as error:
            log.exception("start failed", model=station.model_id)
            self._start_failed(station, WorkerFailed(f"cannot load {station.model_id}: {type(error).__name__}"))
        else:
            self._run_ended(station, station.run)

    def _run_ended(self, station: Station, run: WorkerRun) -> None:
        if run.failure is not None:
            self._start_failed(station, run.failure)
            return
        if run.ready is not None and not run.ended_as_asked:
            station.restarts += 1
            station.last_failure = UpstreamCrashed(f"{station.model_id}: its worker {run.why_lost()}")
            log.warning("worker lost", model=station.model_id, why=run.why_lost(), last=run.log.last_lines(3))
        self._gone(station, Event.EXITED)

    def _start_failed(self, station: Station, error: RoostError) -> None:
        """Waiters are answered at once; whether another start is allowed is the back-off's decision."""
        now = self.now()
        station.last_failure = error
        station.failures.append(now)
        log.warning("load failed", model=station.model_id, failures=len(station.failures), reason=error.message)
        fail_waiting(station, error)
        answer_wanted(station, error)
        match backoff.after_failure(station.failures, now, self._world.random()):
            case backoff.RetryAtOnce():
                self._gone(station, Event.EXITED)
            case backoff.RetryAt(time):
                station.retry_at = time
                retry_due = (station, station.number, Event.RETRY_DUE)
                asyncio.get_running_loop().call_at(time, self._post_if_current, *retry_due)
                self._gone(station, Event.EXITED_AGAIN)
            case backoff.GiveUp():
                self._gone(station, Event.EXITED_TOO_OFTEN)

    def _gone(self, station: Station, event: Event) -> None:
        station.ready_since = station.drain_deadline = None
        station.running.clear()  # those requests learn of it from their connections
        if station.unloading:
            unloaded = ModelNotResident(f"cannot serve {station.model_id}: it was unloaded", retry_after_s=1)
            fail_waiting(station, unloaded)
        if station.restart and event is Event.EXITED:
            station.wanted_since = self.now()
        self._post(station, event)
        tell_gone(station)

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
        if allows(station.state, Event.DRAIN):
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
        gone = []
        for station in self._stations.values():
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
        return tuple(worker_view(s, self.now()) for s in self._stations.values() if s.number or s.waiting)

    def log_path(self, worker: str) -> str | None:
        for name in (worker, worker_log_name(worker)):
            path = self._world.paths.logs / f"{name}.log"
            if "/" not in name and path.is_file():
                return str(path)
        return None

    def _station(self, model_id: str) -> Station:
        station = self._stations.get(model_id)
        if station is None:
            spec = find_spec(self._world, model_id)
            kind = Kind.AUXILIARY if self._world.is_auxiliary(spec) else Kind.CHAT
            station = self._stations[model_id] = Station(model_id, kind)
        return station


def _percent(station: Station) -> str:
    fraction = station.run.fraction if station.run else None
    return f", {fraction:.0%}" if fraction is not None else ""

"""The floor of the pool: stations, the plan, starts and their ends. It acts; residency.plan and backoff decide.

Every change of state goes through `_post` and the table of lifecycle.py. All of it runs in the event loop's thread,
so that a request takes its place in line, and a fact its effect, in one step that nothing can come between.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog

from roost.config.settings import Settings
from roost.errors import InsufficientMemory, NodeUnreachable, RoostError, UpstreamCrashed, WorkerFailed
from roost.memory import ledger
from roost.workers import backoff, residency
from roost.workers.admitting import Admitting
from roost.workers.answers import answer_wanted, fail_waiting, stays_resident, tell_gone, was_unloaded
from roost.workers.claim import FULL
from roost.workers.lifecycle import STARTABLE, Effect, Event, State, allows, step
from roost.workers.orders import World, effective_command, find_spec, rules, run_paths, start_order
from roost.workers.residency import Kind, ModelView, Rules
from roost.workers.run import WorkerRun
from roost.workers.sending import send
from roost.workers.start import StartOrder
from roost.workers.station import Station
from roost.workers.waking import wake

log = structlog.get_logger(__name__)

#: What the book of promises is told of a worker's life.
_BOOKED = {Event.VERIFIED: ledger.Event.READY, Event.DRAIN: ledger.Event.DRAIN}

#: A server elsewhere that was not reached is tried again so soon, whether or not anybody asks.
LOOK_AGAIN_S = 1.0
#: So long it is known that a model would fit once others had gone.
APPRAISAL_HOLDS_S = 10.0


class Floor(Admitting):
    """Owns the stations. `Supervisor` adds what requests and people ask of it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._planning = False
        self._ruled: tuple[Settings, Rules] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._claim = FULL

    def now(self) -> float:
        """The clock of asyncio's timers. Asked several times a request."""
        return time.monotonic()

    def _station(self, model_id: str) -> Station:
        station = self._stations.get(model_id)
        if station is None:
            spec = find_spec(self._world, model_id)
            kind = Kind.AUXILIARY if self._world.is_auxiliary(spec) else Kind.CHAT
            pinned = model_id in self._world.settings().residency.pinned
            claim = self._claim.of_one(pinned=pinned)
            station = self._stations[model_id] = Station(model_id, kind, claim=claim)
        return station

    # The plan, and doing it.

    def _rules(self) -> Rules:
        settings = self._world.settings()
        if self._ruled is None or self._ruled[0] is not settings:
            self._ruled = (settings, rules(settings))
        return self._ruled[1]

    def _views(self) -> list[ModelView]:
        return [self._view(station) for station in self._stations.values()]

    def _replan(self) -> None:
        """Runs the plan until it asks for nothing more. A change made while it acts is seen by its next round."""
        if self._planning:
            return
        self._planning = True
        try:
            while True:
                self._finish_drains()
                plan = residency.plan(self._views(), self._rules(), self.now())
                if not self._act(plan):
                    break
        finally:
            self._planning = False
        self._wake_at(plan.wake_at)

    def _act(self, plan: residency.Plan) -> bool:
        """Does what the plan says; whether it changed a state, so that the plan must be asked again."""
        drain = plan.drain if not plan.drain or self._appraised(plan.drain) else ()
        for model_id in drain:
            station = self._stations[model_id]
            if station.state is State.READY:
                station.left_at, station.gave_way = self.now(), station.gives_way(self.now())
            self._post(station, Event.DRAIN)
        for model_id in plan.start:
            self._post(self._stations[model_id], Event.START)
        for model_id, free in plan.dispatch.items():
            self._send(self._stations[model_id], free)
        for stuck in plan.stuck:
            self._turn_away(self._stations[stuck.model_id], stuck.resident)
        return bool(drain or plan.start or plan.stuck)

    def _appraised(self, leaving: tuple[str, ...]) -> bool:
        """Whether those who wait for a place are known to fit once these have gone: nobody goes for a start that is
        refused then. Asks, if not."""
        waiting = [station for station in self._stations.values() if self._view(station).wants_start]
        stale = [s for s in waiting if s.appraised_at is None or self.now() - s.appraised_at > APPRAISAL_HOLDS_S]
        for station in stale:
            if not station.appraising:
                station.appraising = True
                self._begin(self._appraise(station, frozenset(leaving)), f"appraisal of {station.model_id}")
        return not stale

    async def _appraise(self, station: Station, leaving: frozenset[str]) -> None:
        """What is wrong besides memory is told by the start itself."""
        refused = False
        try:
            order = await asyncio.to_thread(start_order, self._world, station.model_id)
            effective = await asyncio.to_thread(effective_command, order)
            movable = frozenset(one.model_id for one in self._movable_for(station))
            await self._gate.appraise(order, effective, leaving | movable | self._spares.names())
        except InsufficientMemory as error:
            refused = True
            if station.state in STARTABLE:
                self._refused(station, error)
        except RoostError as error:
            log.info("cannot be appraised", model=station.model_id, reason=error.message)
        except Exception:
            log.exception("cannot be appraised", model=station.model_id)
        station.appraised_at, station.appraising = None if refused else self.now(), False
        self._replan()

    def _turn_away(self, station: Station, resident: str) -> None:
        """Nothing would ever let it in: those who wait are told instead of waiting for ever."""
        error = stays_resident(station.model_id, resident, self._rules())
        fail_waiting(station, error)
        answer_wanted(station, error)

    def _dispatch(self, station: Station) -> None:
        """The plan's answer for a READY model when nothing else waits: as many as it takes."""
        self._send(station, min(len(station.waiting), station.concurrency - len(station.running)))

    def _send(self, station: Station, most: int) -> None:
        send(station, most, self.now(), self._rules().max_overtaken_s)

    def _finish_drains(self) -> None:
        now = self.now()
        # While memory is short nobody stays, however little it keeps.
        parks = self._rules().max_parked > 0 and self._gate.closed is None
        for station in self._stations.values():
            if station.state is State.DRAINING:
                if not station.running:
                    self._post(station, Event.PARK if parks and station.may_park else Event.DRAINED)
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
        if event in _BOOKED:
            self._gate.post(station.start_id, _BOOKED[event])
        match effect:
            case Effect.SPAWN:
                self._spawn(station)
            case Effect.PARK if station.run:
                station.run.nap.park()
            case Effect.WAKE if station.run:
                waking = wake(station, station.run, self._gate, self._spares, self._refused, self._post_if_current)
                self._begin(waking, f"wake {station.model_id}")
            case Effect.PROVE if station.run:
                station.run.begin_proof()
            case Effect.ADMIT:
                self._admit(station)
            case Effect.TERMINATE if station.run:
                station.run.terminate()
            case Effect.KILL if station.run:
                station.run.kill()
        self._replan()
        self._spares.consider()

    def _post_if_current(self, station: Station, number: int, event: Event) -> None:
        """A fact from a start: dropped when it speaks of an earlier one, or comes too late to matter."""
        if number == station.number and allows(station.state, event):
            self._post(station, event)

    def _admit(self, station: Station) -> None:
        station.ready_since = station.last_active = self.now()
        station.failures.clear()
        station.last_failure = station.retry_at = None
        station.gave_way = False
        answer_wanted(station, None)
        self._world.on_ready(station.model_id)
        # An engine that was installed anew since then must not be met half old, half new.
        self._spares.refresh_soon()

    # One start, and its end.

    def _spawn(self, station: Station) -> None:
        station.number += 1
        station.unloading = station.restart = False
        station.run = station.admission = station.appraised_at = None
        start = self._one_start(station, station.number)
        self._begin(start, f"worker {station.model_id} #{station.number}")

    async def _one_start(self, station: Station, number: int) -> None:
        """From START to gone. One of the three borders where any exception is answered: it fails this start alone."""
        try:
            warm = station.warms
            station.effective = ""  # until it is known: a start that fails before has none
            order = await asyncio.to_thread(start_order, self._world, station.model_id)
            station.effective = await asyncio.to_thread(effective_command, order)
            station.admission = await self._admitted(station, order)
            run = await self._run(station, number, station.admission.order, warm=warm)
        except InsufficientMemory as error:
            self._refused(station, error)
            self._gone(station, Event.EXITED)
        except RoostError as error:
            self._start_failed(station, error)
        except Exception as error:
            log.exception("start failed", model=station.model_id)
            self._start_failed(station, WorkerFailed(f"cannot load {station.model_id}: {type(error).__name__}"))
        else:
            self._run_ended(station, run)

    async def _seen_parked(self, station: Station, start: str, most_bytes: int) -> str | None:
        reason = await self._gate.parked(start, most_bytes)
        if station.run is not None:
            await asyncio.to_thread(station.run.measure)  # people look at it now, not at the next sample
        return reason

    async def _run(self, station: Station, number: int, order: StartOrder, *, warm: bool) -> WorkerRun:
        """Until nothing is left of it and its memory is back, whatever becomes of it."""
        start = station.start_id
        try:
            run = station.run = WorkerRun(
                order,
                self._world.host,
                run_paths(self._world, station.model_id),
                lambda event: self._post_if_current(station, number, event),
                lambda: [place.running_view() for place in station.running if not place.entry.open_ended],
                lambda: self._spares.take(order),
                partial(self._seen_parked, station, start),
                warm=warm,
            )
            if station.coming:  # else it was unloaded before it began
                self._gate.started(start, lambda: run.pid, run.holding.hold_to)
                await run.main()
            return run
        finally:
            ended = station.run
            clean = ended is not None and ended.ended_as_asked and ended.failure is None
            await self._gate.ended(start, clean=clean, beyond=ended.holding.beyond if ended else None)

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
        now, far = self.now(), isinstance(error, NodeUnreachable)
        station.failures.append(now)
        if not far or str(error) != str(station.last_failure):  # what is away for a day is told of once
            log.warning("load failed", model=station.model_id, failures=len(station.failures), reason=error.message)
        station.last_failure = error
        fail_waiting(station, error)
        answer_wanted(station, error)
        if far:
            self._unreached(station, now)
            return
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

    def _unreached(self, station: Station, now: float) -> None:
        """A server elsewhere takes no place here, so that looking for it costs nobody anything: it is looked for until
        it is back, and nobody needs to ask."""
        del station.failures[: -backoff.CIRCUIT_COUNT]
        again_at, event = now + LOOK_AGAIN_S, Event.EXITED
        match backoff.after_unreachable(station.failures, now):
            case backoff.RetryAt(time):
                again_at = station.retry_at = time
                event = Event.EXITED_AGAIN
        asyncio.get_running_loop().call_at(again_at, self._look_again, station, station.number)
        self._gone(station, event)

    def _look_again(self, station: Station, number: int) -> None:
        if number != station.number or self._draining or station.state not in (State.STOPPED, State.BACKOFF):
            return
        station.wanted_since = self.now()
        if station.state is State.BACKOFF:
            self._post(station, Event.RETRY_DUE)
        self._replan()

    def _gone(self, station: Station, event: Event) -> None:
        station.ready_since = station.drain_deadline = None
        station.running.clear()  # those requests learn of it from their connections
        if station.unloading:
            fail_waiting(station, was_unloaded(station.model_id))
        if station.restart and event is Event.EXITED:
            station.wanted_since = self.now()
        self._post(station, event)
        tell_gone(station)

"""One start of one worker, from its command to its last process: it acts and reports facts, the supervisor decides."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial

import structlog

from roost.engines.http import close_session, why_unreachable, worker_http
from roost.engines.types import (
    Available,
    Healthy,
    LaunchPlan,
    Unreachable,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import ModelLoadingTimeout, NodeUnreachable, RoostError
from roost.host.types import Host, Usage
from roost.workers.beside import Beside
from roost.workers.ends import as_unavailable, exit_text, load_failure, load_timeout, stop_gently, unreachable
from roost.workers.holding import Holding
from roost.workers.lifecycle import Event
from roost.workers.logs import WorkerLog
from roost.workers.nap import Nap, SeenParked, nobody_looks
from roost.workers.places import make_place, remove_place
from roost.workers.process import StartFailed, WorkerProcess
from roost.workers.proof import Proof
from roost.workers.reaching import proven, until_healthy
from roost.workers.saved_cache import SavedCache
from roost.workers.spare import Spare, worker_process
from roost.workers.start import RunPaths, StartOrder, check_files, ready_worker
from roost.workers.types import ReadyWorker
from roost.workers.vitals import Patient, is_dead
from roost.workers.wedge import RunningView

#: Readiness is noticed within this time; one question costs about half a millisecond.
HEALTH_PERIOD_S = 0.015
#: A server elsewhere is asked less often: while it loads, and while it is ready and nobody asks it anything.
FAR_HEALTH_PERIOD_S = 0.5
FAR_LOOK_PERIOD_S = 30.0
#: Signs of life are sampled so often while loading, and resident memory while ready.
LIFE_PERIOD_S = 1.0
USAGE_PERIOD_S = 10.0

log = structlog.get_logger(__name__)

Post = Callable[[Event], None]


class WorkerRun:
    """Drives one start. Posts HEALTHY, VERIFIED, UNPROVEN, UNUSABLE, LOAD_STALLED, WEDGED while it lives; when `main`
    returns, nothing of it is left: no process, no socket, no folder."""

    def __init__(
        self,
        order: StartOrder,
        host: Host,
        paths: RunPaths,
        post: Post,
        running: Callable[[], Iterable[RunningView]],
        take_spare: Callable[[], Spare | None] = lambda: None,
        seen_parked: SeenParked = nobody_looks,
        warm: bool = False,
    ) -> None:
        self.order = order
        self.ready: ReadyWorker | None = None
        self.plan: LaunchPlan | None = None
        self.proof: Proof | None = None
        self.failure: RoostError | None = None
        #: A server elsewhere took no connection when it was last asked.
        self.unreachable: NodeUnreachable | None = None
        self.fraction: float | None = None
        self.started_at = time.time()
        self.ready_at: float | None = None
        self.usage = Usage(0.0, 0)
        self.holding = Holding()
        self.gone = asyncio.Event()
        self.log = WorkerLog(paths.log, paths.log_cap_bytes)
        self._host, self._paths, self._post = host, paths, post
        self._running, self._take_spare = running, take_spare
        self._spare: Spare | None = None
        self._place: WorkerPlace | None = None
        self._process: WorkerProcess | None = None
        self._http: WorkerHttp | None = None
        self._beside: Beside | None = None
        self._may_prove = asyncio.Event()
        self._stop = asyncio.Event()
        self.nap = Nap(order, post, self._stop, seen_parked)
        self._stop_now = asyncio.Event()
        self._warms = warm
        self._asked_to_stop = False
        #: Why it is being killed without anybody's wish: silent and doing nothing, or memory; "": it is not.
        self.ended_for = ""
        state = order.engine.availability()
        self.engine_version = state.version if isinstance(state, Available) else None

    # What the supervisor may do to it.

    def begin_proof(self) -> None:
        self._may_prove.set()

    def terminate(self) -> None:
        """Asks it to end; after the grace its tree is killed."""
        self._asked_to_stop = True
        self._stop.set()

    def kill(self) -> None:
        self._asked_to_stop = True
        self._stop_now.set()
        self._stop.set()

    def can_park(self) -> bool:
        return self._process is not None and self.nap.possible

    def wake(self, *, warm: bool) -> None:
        """Its memory is promised: load again. It is a load from here on, with all that may go wrong in one."""
        self.ready = None
        self._warms = warm
        self.nap.wake()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def supervised(self) -> bool:
        """Whether it is a process of ours."""
        return self._process is not None

    @property
    def ended_as_asked(self) -> bool:
        return self._asked_to_stop and not self.ended_for

    async def settled(self, timeout_s: float, error: Exception) -> None:
        """A connection broke with this error: returns once it is known why. A process is gone, or is not after the
        time; a server elsewhere is asked."""
        if self._process is None:
            await self._look(why_unreachable(error))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.gone.wait()

    def why_lost(self) -> str:
        """Why it is not there any more, as far as known."""
        if self.ended_for:
            return self.ended_for
        if self.unreachable:
            return self.unreachable.message
        if self._asked_to_stop:
            return "stopped"
        code = self._process.exit_code if self._process else None
        return "its connection broke" if code is None else exit_text(code)

    # The course of one start.

    async def main(self) -> None:
        """Returns when nothing of this start is left. Failures are in `failure`, never raised, but for cancellation."""
        try:
            await self._live()
        except (RoostError, StartFailed, OSError) as error:
            self.failure = as_unavailable(self.order.spec.id, error)
        finally:
            if self._process:
                self._process.kill()
            if self._spare:
                await asyncio.shield(self._spare.ended())
            if self._place:
                await asyncio.shield(asyncio.to_thread(remove_place, self._place, self._paths.records))
            self.log.close()
            self.gone.set()

    async def _live(self) -> None:
        order = self.order
        await check_files(order, order.spec.files, order.spec.id)
        self._spare = self._take_spare()
        place = self._place = (self._spare and self._spare.place) or make_place(self._paths.run_dir)
        plan = order.engine.launch(order.spec, order.knobs, order.model, place)
        await check_files(order, plan.draft_files, order.knobs.draft_model or "")
        self.plan = replace(plan, env={**plan.env, "ROOST_WORKER_NONCE": place.nonce})
        http = self._http = worker_http(plan.endpoint)
        try:
            await (self._live_with_process(self.plan, http, place) if plan.argv else self._live_without_process(http))
        finally:
            await close_session(http.session)

    async def _live_with_process(self, plan: LaunchPlan, http: WorkerHttp, place: WorkerPlace) -> None:
        beside = self._beside = Beside(plan, place, self.order.spec.id, self._host, self._paths.records)
        try:
            await asyncio.to_thread(beside.begin, lambda line: self.log.feed(line.encode()))
            await self._run_process(plan, http, place)
        finally:
            if self._process:
                self._process.kill()
            at_rest = self.ready is not None and self.ended_as_asked and not self._stop_now.is_set()
            await asyncio.shield(asyncio.to_thread(beside.end, at_rest=at_rest))

    async def _run_process(self, plan: LaunchPlan, http: WorkerHttp, place: WorkerPlace) -> None:
        order = self.order
        attended = await worker_process(order, plan, self._spare, self._host, self.log.feed)
        process = self._process = attended.process
        self.holding.hold(process)
        cache = SavedCache(self._paths.saved, order.spec, order.engine, order.knobs, http, place.saved)
        async with asyncio.TaskGroup() as group:
            group.create_task(attended.attend())
            helpers = [
                group.create_task(self._bring_up(http, cache)),
                group.create_task(self._stop_when_told(process, cache)),
                group.create_task(self.nap.run(http, place, cache, partial(self._reach_ready, http, cache))),
            ]
            await process.gone.wait()
            for task in helpers:
                task.cancel()
        self._conclude(process)

    async def _live_without_process(self, http: WorkerHttp) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._bring_up(http))
            await self._stop.wait()
            task.cancel()

    def _conclude(self, process: WorkerProcess) -> None:
        """An end that nobody asked for, before READY, is a failed load."""
        if self.failure or self._asked_to_stop:
            return
        self.ended_for = self.holding.why_ended()
        if self.ready is None:
            self.failure = load_failure(self.order, process.exit_code or 0, self.log.last_line(), self.ended_for)

    async def _stop_when_told(self, process: WorkerProcess, cache: SavedCache) -> None:
        await self._stop.wait()
        if self.ready is not None and not self.nap.parked:
            await cache.save(self._stop_now)
        if self.plan:
            await stop_gently(process, self.plan, self.log.feed, self._stop_now)
        process.kill()

    # From started to ready.

    async def _bring_up(self, http: WorkerHttp, cache: SavedCache | None = None) -> None:
        if await self._reach_ready(http, cache):
            await self._watch_ready(http)

    async def _reach_ready(
        self, http: WorkerHttp, cache: SavedCache | None, first: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Of a new process, and of a parked one that was told to load again."""
        refused = Event.UNUSABLE
        try:
            if first:
                await first()
            healthy = await self._until_healthy(http)
            self._post(Event.HEALTHY)
            refused = Event.UNPROVEN
            await self._may_prove.wait()
            self._may_prove.clear()
            assert self.plan is not None
            self.proof = await proven(self._host, self.plan, self.order.spec, self._process)
            await self.nap.check(http)
            if self._warms:
                await self._warm()
            if cache:
                await cache.restore()
        except RoostError as error:
            if self._asked_to_stop:
                return False  # that is why
            self.failure = as_unavailable(self.order.spec.id, error)
            self._post(Event.LOAD_STALLED if isinstance(error, ModelLoadingTimeout) else refused)
            return False
        self._become_ready(http, healthy)
        self._post(Event.VERIFIED)
        return True

    async def _until_healthy(self, http: WorkerHttp) -> Healthy:
        def loading(fraction: float | None) -> None:
            self.fraction = fraction

        period_s = HEALTH_PERIOD_S if self._process else FAR_HEALTH_PERIOD_S
        return await until_healthy(
            self.order, http, self.plan, lambda: (self.measure(), self.log.activity), loading, period_s
        )

    def measure(self) -> Usage:
        if self._process and self._beside:
            self.usage = self._host.usage((*self._process.tree(), *self._beside.processes()))
        return self.usage

    async def _warm(self) -> None:
        try:
            async with asyncio.timeout(self.order.knobs.load_deadline_s):
                await self.make_token()
        except TimeoutError:
            raise load_timeout(self.order, self.order.knobs.load_deadline_s) from None

    async def make_token(self) -> None:
        """Of a worker that is ready: proof that it can. Raises RoostError; the caller sets the deadline."""
        if self._http and self.plan:
            await self.order.engine.generate_token(self._http, self.plan.served_name, self.plan.traits.surfaces)

    def _become_ready(self, http: WorkerHttp, healthy: Healthy) -> None:
        assert self.plan is not None
        self.ready_at = time.time()
        self.fraction = None
        self.ready = ready_worker(self.order, self.plan, http, healthy, self._paths.log.stem, self.pid)

    # While ready.

    async def _watch_ready(self, http: WorkerHttp) -> None:
        """Samples memory, and watches for a wedge while requests run."""
        measured_at, looked_at = 0.0, asyncio.get_running_loop().time()
        hidden = self._beside is not None and await asyncio.to_thread(self._beside.hidden)
        period_s = min(1.0, self.order.knobs.stall_s / 4)
        patient = Patient(
            running=self._running,
            measure=self.measure,
            health=lambda: self.order.engine.health(http),
            is_stopped=lambda: bool(self.pid and self._host.is_stopped(self.pid)),
            supervised=self._process is not None and not hidden,
            stall_s=self.order.knobs.stall_s,
        )
        while True:
            now = asyncio.get_running_loop().time()
            if now - measured_at >= USAGE_PERIOD_S:
                measured_at = now
                await asyncio.to_thread(self.measure)
            if self._process is None and now - looked_at >= FAR_LOOK_PERIOD_S and not patient.busy():
                looked_at = now
                await self._look(None)
            if await is_dead(patient):
                self.ended_for = "stalled: no token and no sign of work beyond its deadline"
                self._post(Event.WEDGED)
                return
            await asyncio.sleep(period_s)

    async def _look(self, reason: str | None) -> None:
        """Asks a server elsewhere, unless `reason` already says why it cannot be reached. It is given up for then,
        but not while an answer still comes from it: a server that ends takes no connection and finishes its work."""
        if reason is None and self._http is not None:
            health = await self.order.engine.health(self._http)
            reason = health.reason if isinstance(health, Unreachable) else None
        self.unreachable = unreachable(self.order.spec.id, self.plan, reason) if reason else None
        if self.unreachable and not any(view.last_beat is not None for view in self._running()):
            self.failure = self.unreachable
            self._post(Event.UNUSABLE)

"""The places for spares, one an engine. It acts; standby.plan decides. Part of the pool: only the pool's loop calls it.

Every change of state goes through `_post` and the table of standby.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from roost.engines.types import StandsBy
from roost.host.types import MemoryReading
from roost.workers import backoff, standby
from roost.workers.gate import Gate
from roost.workers.orders import World, wanted_spares
from roost.workers.spare import Spare, SpareOrder
from roost.workers.standby import LIVE, TABLE, Effect, Event, SpareView, State, View, allows
from roost.workers.start import StartOrder
from roost.workers.types import WaitingSpare

log = structlog.get_logger(__name__)

Begin = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(eq=False)
class SparePlace:
    """All that the pool knows of one engine's spare."""

    engine: str
    state: State = State.ABSENT
    #: Number of the current or last spare; facts of an earlier one are stale.
    number: int = 0
    spare: Spare | None = None
    #: Digest of what a spare would be now, and of what the current or last one is.
    wanted: str | None = None
    present: str | None = None
    version: str = ""
    #: Memory of the largest one so far.
    size_bytes: int = 0
    #: Times of the ends in a row that nobody asked for.
    failures: list[float] = field(default_factory=list)
    problem: str | None = None

    @property
    def holder(self) -> str:
        """Its name in the book of memory; a promise is named by its number too."""
        return f"a spare of {self.engine}"

    @property
    def promise(self) -> str:
        return f"{self.holder} #{self.number}"

    def view(self) -> SpareView:
        return SpareView(self.engine, self.state, self.wanted, self.present, self.size_bytes)


class Spares:
    """`begin` runs a task in the pool's group; `is_moving` tells whether a model is being loaded or stopped, `is_busy`
    whether requests are being served."""

    def __init__(
        self, world: World, gate: Gate, begin: Begin, is_moving: Callable[[], bool], is_busy: Callable[[], bool]
    ) -> None:
        self._world = world
        self._gate = gate
        self._begin = begin
        self._is_moving = is_moving
        self._is_busy = is_busy
        self._places: dict[str, SparePlace] = {}
        self._memory = MemoryReading(0, 0, 0, None)
        self._was_moving = False
        #: The first load comes before the first spare.
        self._moved_at = time.monotonic()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    def refresh_soon(self) -> None:
        """As a task; none where no engine can stand by."""
        if any(isinstance(engine, StandsBy) for engine in self._world.engines.values()):
            self._begin(self.refresh())

    async def refresh(self) -> None:
        """After a change of settings, or when an engine may have been installed anew."""
        wanted = await asyncio.to_thread(wanted_spares, self._world)
        for name in wanted:
            if name not in self._places:
                declared = cast(StandsBy, self._world.engines[name]).spare_bytes
                self._places[name] = SparePlace(name, size_bytes=declared)
        for place in self._places.values():
            now_wanted = wanted.get(place.engine)
            place.wanted = now_wanted.digest if now_wanted else None
            place.version = now_wanted.version if now_wanted else place.version
        self.consider()

    def take(self, order: StartOrder) -> Spare | None:
        """The spare that becomes the worker of this start; None: there is none that may."""
        place = self._fitting(order)
        if place is None or place.spare is None:
            return None
        spare = place.spare
        spare.taken = True
        place.spare = None
        place.failures.clear()
        self._gate.drop(place.promise)  # the start has its own
        self._post(place, Event.TAKEN)
        return spare

    def _fitting(self, order: StartOrder) -> SparePlace | None:
        place = self._places.get(order.engine.name)
        if place is None or place.spare is None or place.state not in LIVE or order.spare != place.present:
            return None
        return place if place.spare.can_become_worker else None

    # What they hold of the memory: see `allowed.Spared`.

    def names(self) -> frozenset[str]:
        return frozenset(place.holder for place in self._places.values() if place.spare)

    def becoming(self, order: StartOrder) -> frozenset[str]:
        place = self._fitting(order)
        return frozenset({place.holder}) if place else frozenset()

    async def give_up(self, but: frozenset[str]) -> bool:
        going = [place for place in self._places.values() if place.spare and place.holder not in but]
        spares = [place.spare for place in going if place.spare]
        for place in going:
            if place.state in LIVE:
                log.info("spare given up for a load", engine=place.engine)
                self._post(place, Event.END)
        for spare in spares:
            await spare.gone.wait()
        return bool(going)

    def close(self) -> None:
        """Ends them; their tasks return soon afterwards."""
        self._closing = True
        if self._timer:
            self._timer.cancel()
        self.consider()

    # The plan, and doing it.

    def consider(self) -> None:
        """After each fact: does what the plan says until it says nothing more. Free where no spare is kept."""
        moving, now = self._is_moving(), time.monotonic()
        if moving or self._was_moving:
            self._moved_at = now
        self._was_moving = moving
        if not self._places:
            return
        while True:
            plan = standby.plan(self._view(moving), now)
            for event, names in ((Event.CHANGED, plan.forget), (Event.END, plan.end), (Event.START, plan.start)):
                for name in names:
                    self._post(self._places[name], event)
            if not (plan.forget or plan.end or plan.start):
                break
        self._wake_at(plan.wake_at)

    def _view(self, moving: bool) -> View:
        with contextlib.suppress(OSError):  # no descriptor is free: the last reading must do
            self._memory = self._world.host.memory()
        return View(
            tuple(place.view() for place in self._places.values()),
            self._memory.available_bytes,
            self._memory.total_bytes,
            unpromised_bytes=self._gate.unpromised_bytes(self._memory.total_bytes),
            alarm=self._gate.closed is not None,
            moving=moving,
            moved_at=self._moved_at,
            busy=self._is_busy(),
            closing=self._closing,
        )

    def _wake_at(self, due: float | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._closing:
            self._timer = asyncio.get_running_loop().call_at(due + 0.001, self.consider)

    def _post(self, place: SparePlace, event: Event) -> None:
        """The only way to another state."""
        place.state, effect = TABLE[place.state, event]
        log.info("spare", engine=place.engine, start=place.number, fact=event.value, state=place.state.value)
        if event is Event.CHANGED:
            place.failures.clear()
            place.problem = None
        match effect:
            case Effect.SPAWN:
                self._spawn(place)
            case Effect.KILL if place.spare:
                place.spare.end()

    def _fact(self, place: SparePlace, number: int, event: Event) -> None:
        """Dropped when it speaks of an earlier spare, or comes too late to matter."""
        if number == place.number and allows(place.state, event):
            self._post(place, event)
            self.consider()

    # One spare, and its end.

    def _spawn(self, place: SparePlace) -> None:
        place.number += 1
        place.present = place.wanted
        number, settings, paths = place.number, self._world.settings(), self._world.paths
        order = SpareOrder(
            name=place.engine,
            engine=cast(StandsBy, self._world.engines[place.engine]),
            knobs=settings.knobs("", place.engine),
            run_dir=paths.run,
            records=paths.run / "workers",
            log=paths.logs / f"{log_name(place.engine)}.log",
            log_cap_bytes=settings.log.worker_cap_bytes,
        )
        spare = place.spare = Spare(
            order,
            self._world.host,
            lambda event: self._fact(place, number, event),
            lambda: self._measured(place, spare),
        )
        self._gate.hold(place.promise, place.holder, place.size_bytes, lambda: spare.pid)
        self._begin(self._one_spare(place, number, spare))

    async def _one_spare(self, place: SparePlace, number: int, spare: Spare) -> None:
        promise = place.promise
        await spare.main()
        if not spare.taken:
            self._gate.drop(promise)
        if spare.taken or number != place.number:
            return
        place.spare = None
        if place.state is State.ENDING:
            self._fact(place, number, Event.EXITED)
        else:
            self._lost(place, number, spare.why_lost())

    def _lost(self, place: SparePlace, number: int, why: str) -> None:
        now = time.monotonic()
        place.problem = why
        place.failures.append(now)
        log.warning("spare lost", engine=place.engine, failures=len(place.failures), why=why)
        match backoff.after_failure(place.failures, now, self._world.random()):
            case backoff.GiveUp():
                self._fact(place, number, Event.EXITED_TOO_OFTEN)
                return
            case backoff.RetryAt(time=due):
                pass
            case backoff.RetryAtOnce():
                due = now + backoff.FIRST_BACKOFF_S
        asyncio.get_running_loop().call_at(due, self._fact, place, number, Event.RETRY_DUE)
        self._fact(place, number, Event.EXITED)

    def _measured(self, place: SparePlace, spare: Spare) -> None:
        place.size_bytes = spare.usage.resident_bytes or place.size_bytes
        self._gate.resize(place.promise, place.size_bytes)
        self.consider()

    # Reports.

    def views(self) -> tuple[WaitingSpare, ...]:
        return tuple(self._shown(place) for place in self._places.values() if place.spare or place.wanted)

    def _shown(self, place: SparePlace) -> WaitingSpare:
        spare = place.spare
        problem = place.problem if place.state in (State.BACKOFF, State.FAILED) else self._why_absent(place)
        return WaitingSpare(
            engine=place.engine,
            engine_version=place.version,
            state=place.state.value,
            pid=spare.pid if spare else None,
            started_at=spare.started_at if spare else None,
            imported_at=spare.imported_at if spare else None,
            resident_bytes=spare.usage.resident_bytes or None if spare else None,
            log=log_name(place.engine),
            problem=problem,
            mend=f"roost logs {log_name(place.engine)}" if place.problem == problem and problem else None,
            command=tuple(part for part in spare.plan.argv if part.strip()) if spare and spare.plan else (),
        )

    def _why_absent(self, place: SparePlace) -> str | None:
        return standby.why_absent(place.view(), self._memory.available_bytes, self._memory.total_bytes)


def log_name(engine: str) -> str:
    return f"standby-{engine}"

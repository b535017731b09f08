"""The record of one model in the pool: its state, its start, who runs and who waits. Only the supervisor writes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from roost.errors import RoostError
from roost.workers.allowed import Admission
from roost.workers.claim import FULL, Claim
from roost.workers.envelope import envelope_tokens
from roost.workers.lifecycle import COMING, State
from roost.workers.residency import Kind, ModelView
from roost.workers.run import WorkerRun
from roost.workers.types import Entry, ReadyWorker
from roost.workers.warmth import Warmth
from roost.workers.wedge import RunningView

_arrivals = count(1)


@dataclass(eq=False)
class Place:
    """One request in line for a model, or being served by it."""

    entry: Entry
    arrived_at: float
    granted: asyncio.Future[ReadyWorker]
    arrival: int = field(default_factory=lambda: next(_arrivals))
    #: Monotonic seconds; set when it was granted.
    sent_at: float = 0.0
    last_beat: float | None = None
    #: The start that serves it.
    run: WorkerRun | None = None
    left: bool = False
    #: It is to end at its next token, with this.
    revoked: RoostError | None = None
    #: Told of it at once, while no token would end the wait.
    on_revoked: Callable[[RoostError], None] | None = None

    def revoke(self, error: RoostError) -> None:
        self.revoked = error
        if self.on_revoked is not None:
            self.on_revoked(error)

    def running_view(self) -> RunningView:
        return RunningView(self.sent_at, self.last_beat, self.entry.prompt_bytes)


@dataclass(eq=False)
class Station:
    """All that the pool knows of one model."""

    model_id: str
    kind: Kind
    state: State = State.STOPPED
    #: Number of the current or last start; facts of an earlier one are stale.
    number: int = 0
    run: WorkerRun | None = None
    waiting: deque[Place] = field(default_factory=deque)
    running: set[Place] = field(default_factory=set)
    #: Times of failed starts in a row.
    failures: list[float] = field(default_factory=list)
    retry_at: float | None = None
    last_failure: RoostError | None = None
    restarts: int = 0
    last_active: float = 0.0
    ready_since: float | None = None
    #: When it was last told to go.
    left_at: float | None = None
    #: Somebody asked for it by name: when, and who waits for that.
    wanted_since: float | None = None
    wanted_by: list[asyncio.Future[None]] = field(default_factory=list)
    #: Who waits for it to be gone.
    gone_waiters: list[asyncio.Future[None]] = field(default_factory=list)
    #: Asked to go by a person: what waits is answered, not served by another start.
    unloading: bool = False
    #: A restart was asked for: start again once it is gone.
    restart: bool = False
    drain_deadline: float | None = None
    #: Digest of what the current start was started with.
    effective: str = ""
    #: What memory the current start was promised.
    admission: Admission | None = None
    #: When it was last found to fit once others have gone, and whether that is being asked now.
    appraised_at: float | None = None
    appraising: bool = False
    #: What it may claim of a machine that somebody works at.
    claim: Claim = FULL
    warmth: Warmth = field(default_factory=Warmth)
    #: Its `last_active` when its cached prompts were last dropped.
    emptied_at: float | None = None
    #: Why the next request would wait for its memory; None: it would not.
    cold: str | None = None
    #: It went for that alone: its own settings would have let it stay.
    gave_way: bool = False

    @property
    def start_id(self) -> str:
        """Names the current start in the book of promises."""
        return f"{self.model_id} #{self.number}"

    @property
    def warms(self) -> bool:
        """Whether a load makes a token before it is ready: somebody asked for the model, not for an answer."""
        return self.wanted_since is not None

    @property
    def concurrency(self) -> int:
        return self.claim.most(self.run.plan.concurrency) if self.run and self.run.plan else 1

    @property
    def own_ttl_s(self) -> float:
        """Idle time after which it goes, as its settings say; 0: it stays."""
        return self.run.order.knobs.idle_ttl_s if self.run else 0.0

    @property
    def idle_ttl_s(self) -> float:
        """The same as things are now. A server elsewhere takes nothing of this machine."""
        return self.claim.ttl_s(self.own_ttl_s) if self.run and self.run.supervised else self.own_ttl_s

    def gives_way(self, now: float) -> bool:
        """Whether its time is over by the claim alone."""
        idle_s = now - self.last_active
        own = self.own_ttl_s
        return not self.running and idle_s >= self.idle_ttl_s > 0 and (own == 0 or idle_s < own)

    @property
    def may_park(self) -> bool:
        """Whether its process may stay without its memory: its engine can, and nobody waits for its end."""
        wanted_gone = self.unloading or self.restart or self.drain_deadline is not None or self.gone_waiters
        return not wanted_gone and self.run is not None and self.run.can_park()

    def next_in_line(self, now: float, max_overtaken_s: float) -> Place:
        """The most urgent of those that wait, unless an older one was overtaken for too long."""
        first, last = self.waiting[0], self.waiting[-1]
        if first.entry.rank == last.entry.rank:
            return first
        oldest = min(self.waiting, key=lambda place: place.arrived_at)
        return oldest if oldest.arrived_at + max_overtaken_s <= now else first

    def position(self, place: Place) -> int | None:
        """1 = next; None when it does not wait."""
        try:
            return self.waiting.index(place) + 1
        except ValueError:
            return None

    def view(self, *, pinned: bool) -> ModelView:
        """What the pure plan sees."""
        return ModelView(
            model_id=self.model_id,
            state=self.state,
            kind=self.kind,
            running=len(self.running),
            waiting=tuple(place.arrived_at for place in self.waiting),
            priority=min((place.entry.rank for place in self.waiting), default=0),
            batch=all(place.entry.is_batch for place in (*self.waiting, *self.running)),
            concurrency=self.concurrency,
            ready_since=self.ready_since,
            left_at=self.left_at,
            last_active=self.last_active,
            pinned=pinned,
            idle_ttl_s=self.idle_ttl_s,
            wanted_since=self.wanted_since,
        )

    def fits(self, place: Place) -> bool:
        """Whether a request may be sent beside those that run; alone it always may."""
        plan = self.run.plan if self.run else None
        if plan is None or not plan.shared_window or not plan.context_length or not self.running:
            return True
        window, sequences = plan.context_length, plan.concurrency
        taken = sum(
            envelope_tokens(p.entry.prompt_bytes, p.entry.max_tokens, window, sequences) for p in (*self.running, place)
        )
        return taken <= window

    @property
    def matters_to_the_plan(self) -> bool:
        """Whether the end of a request may change the plan although nobody waits: it drains, or has an idle time.
        Asked at the end of each request, where running the whole plan would cost more than the request's own path."""
        if self.state is not State.READY:
            return True
        return not self.running and self.run is not None and self.idle_ttl_s > 0

    @property
    def coming(self) -> bool:
        return self.state in COMING

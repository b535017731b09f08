"""What the pure plan sees: each model as it stands now, and the rules of the house."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from roost.config.layout import Layout, Unlimited
from roost.config.settings import RotationPolicy
from roost.workers.lifecycle import STARTABLE, State


class Kind(StrEnum):
    CHAT = "chat"
    #: Embedding and rerank workers: they stay beside the resident and evict nobody, unless a layout names them.
    AUXILIARY = "auxiliary"


@dataclass(frozen=True)
class ModelView:
    """One model that somebody wants or that is loaded."""

    model_id: str
    state: State
    kind: Kind = Kind.CHAT
    running: int = 0
    #: Arrival times of the waiting requests.
    waiting: tuple[float, ...] = ()
    #: Lowest rank among them: lower goes first.
    priority: int = 0
    #: Whatever runs and waits is of the class batch.
    batch: bool = False
    concurrency: int = 1
    ready_since: float | None = None
    #: When it was last told to go; None: never.
    left_at: float | None = None
    last_active: float = 0.0
    pinned: bool = False
    idle_ttl_s: float = 0.0
    #: Somebody asked for it by name (load, preload): it may take a place whatever the rotation policy says.
    wanted_since: float | None = None

    @property
    def idle(self) -> bool:
        return self.running == 0 and not self.waiting

    @property
    def has_yet_to_serve(self) -> bool:
        """Loaded for requests of which none was sent yet: closed now, it would have come for nothing, and two models
        whose requests have waited for too long would take turns without an end."""
        unused = self.ready_since is not None and self.last_active <= self.ready_since
        return unused and self.running == 0 and bool(self.waiting)

    @property
    def wants_start(self) -> bool:
        return self.state in STARTABLE and bool(self.waiting or self.wanted_since is not None)

    @property
    def counted(self) -> bool:
        """Whether it takes one of the places of `residency.max_resident`."""
        return self.kind is Kind.CHAT

    def since(self, now: float) -> float:
        """Since when it waits for its turn. What waited through its last turn waits for the next one: a model whose
        line never ends must not get its place back before the one that it was closed for."""
        oldest = min((*self.waiting, *((self.wanted_since,) if self.wanted_since is not None else ())), default=now)
        return oldest if self.left_at is None else max(oldest, self.left_at)


@dataclass(frozen=True)
class Rules:
    policy: RotationPolicy = RotationPolicy.IDLE
    min_idle_s: float = 60.0
    min_residency_s: float = 2.0
    max_wait_s: float = 15.0
    max_overtaken_s: float = 120.0
    max_resident: int = 1
    layout: Layout = field(default_factory=Unlimited)
    #: Processes without memory that are kept, and for how long each.
    max_parked: int = 0
    parked_s: float = 0.0

    def placed(self, view: ModelView) -> bool:
        """Whether it needs a place at all: auxiliary workers do only where the layout names them."""
        return view.counted or self.layout.names(view.model_id)

    def rest_s(self, view: ModelView) -> float:
        """How long a resident must have been idle to go for this model; a batch does not use the pause between two
        interactive requests."""
        if self.policy is RotationPolicy.IDLE:
            return self.min_idle_s
        return self.min_residency_s if view.batch else 0.0

    def patience_s(self, view: ModelView) -> float:
        """How long traffic to a resident may keep this model waiting; batches wait as long as they may be overtaken."""
        return max(self.max_wait_s, self.max_overtaken_s) if view.batch else self.max_wait_s

"""Who is loaded, who goes, who waits: a pure function over a view, run again after each fact.

The questions, in order: who has been idle beyond its time; who may be started beside the residents; who must go so
that a waiting one gets in, and may it go yet; which waiting requests may be sent. A busy worker is never stopped:
a swap only closes it to new requests and waits for those that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from roost.config.settings import RotationPolicy
from roost.workers.lifecycle import OCCUPYING, State


class Kind(StrEnum):
    CHAT = "chat"
    #: Embedding and rerank workers stay beside the resident and never evict it.
    AUXILIARY = "auxiliary"


@dataclass(frozen=True)
class ModelView:
    """One model that somebody wants or that is loaded."""

    model_id: str
    state: State
    kind: Kind = Kind.CHAT
    running: int = 0
    #: Arrival times of the waiting requests, oldest first.
    waiting: tuple[float, ...] = ()
    #: Lowest priority value among them: lower goes first.
    priority: int = 0
    concurrency: int = 1
    ready_since: float | None = None
    last_active: float = 0.0
    pinned: bool = False
    idle_ttl_s: float = 0.0
    #: Somebody asked for it by name (load, preload): it may take a place whatever the rotation policy says.
    wanted_since: float | None = None

    @property
    def idle(self) -> bool:
        return self.running == 0 and not self.waiting


@dataclass(frozen=True)
class Rules:
    policy: RotationPolicy = RotationPolicy.IDLE
    min_idle_s: float = 60.0
    min_residency_s: float = 2.0
    max_wait_s: float = 15.0
    max_resident: int = 1


@dataclass(frozen=True)
class Plan:
    start: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    #: How many waiting requests to send now, a model.
    dispatch: Mapping[str, int] = field(default_factory=dict)
    #: When time alone may change the answer; None: only a fact can.
    wake_at: float | None = None


def plan(models: Iterable[ModelView], rules: Rules, now: float) -> Plan:
    """The next actions. Times are monotonic seconds."""
    views = tuple(models)
    expired, wakes = _expired(views, now)
    auxiliary = [v.model_id for v in views if v.kind is Kind.AUXILIARY and _wants_start(v)]
    chat = [v for v in views if v.kind is Kind.CHAT]
    started, evicted, swap_wakes = _place(chat, expired, rules, now)
    drained = (*expired, *evicted)
    wakes += swap_wakes
    return Plan(
        start=(*auxiliary, *started),
        drain=drained,
        dispatch={v.model_id: free for v in views if (free := _dispatchable(v, drained)) > 0},
        wake_at=min(wakes, default=None),
    )


def _wants_start(view: ModelView) -> bool:
    return view.state is State.STOPPED and bool(view.waiting or view.wanted_since is not None)


def _dispatchable(view: ModelView, drained: tuple[str, ...]) -> int:
    if view.state is not State.READY or view.model_id in drained:
        return 0
    return min(len(view.waiting), view.concurrency - view.running)


def _expired(views: tuple[ModelView, ...], now: float) -> tuple[list[str], list[float]]:
    """Models idle beyond their time, and when the next ones will be."""
    expired: list[str] = []
    wakes: list[float] = []
    for view in views:
        if view.state is State.READY and view.idle and view.idle_ttl_s > 0:
            due = view.last_active + view.idle_ttl_s
            if due <= now:
                expired.append(view.model_id)
            else:
                wakes.append(due)
    return expired, wakes


def _place(
    chat: list[ModelView], expired: list[str], rules: Rules, now: float
) -> tuple[list[str], list[str], list[float]]:
    """Starts for free places, then one eviction for each candidate that none is left for."""
    occupying = [v for v in chat if v.state in OCCUPYING]
    free = rules.max_resident - len(occupying)
    leaving = sum(1 for v in occupying if v.state in (State.DRAINING, State.STOPPING) or v.model_id in expired)
    candidates = sorted((v for v in chat if _wants_start(v)), key=_urgency)
    started = [v.model_id for v in candidates[: max(free, 0)]]
    evicted: list[str] = []
    wakes: list[float] = []
    for candidate in candidates[max(free, 0) + leaving :]:
        victims = [v for v in occupying if v.model_id not in (*expired, *evicted)]
        due = [(_may_go_at(victim, candidate, rules), victim) for victim in victims]
        ready = [victim for when, victim in due if when is not None and when <= now]
        if ready:
            evicted.append(min(ready, key=lambda v: (v.running + len(v.waiting) > 0, v.last_active)).model_id)
        else:
            wakes += [when for when, _ in due if when is not None]
    return started, evicted, wakes


def _urgency(view: ModelView) -> tuple[bool, int, float]:
    oldest = min((*view.waiting, *((view.wanted_since,) if view.wanted_since is not None else ())))
    return (view.wanted_since is None, view.priority, oldest)


def _may_go_at(victim: ModelView, candidate: ModelView, rules: Rules) -> float | None:
    """When this resident may be closed for that candidate; None: no time is known, a fact must come first."""
    if victim.state is not State.READY or victim.pinned or victim.ready_since is None:
        return None
    settled = victim.ready_since + rules.min_residency_s
    if candidate.wanted_since is not None:
        return settled
    if rules.policy is RotationPolicy.NEVER:
        return None
    if victim.idle:
        rest = rules.min_idle_s if rules.policy is RotationPolicy.IDLE else 0.0
        return max(settled, victim.last_active + rest)
    return max(settled, candidate.waiting[0] + rules.max_wait_s)


@dataclass(frozen=True)
class Refusal:
    """A request for a model that is not resident and may not take the resident's place now."""

    resident: str
    #: Seconds after which another try makes sense; None: never by itself.
    retry_after_s: float | None


def refusal(model_id: str, models: Iterable[ModelView], rules: Rules, now: float, *, home: bool) -> Refusal | None:
    """Whether the rotation policy turns a new request for this chat model away at once; None: it may wait in line.

    `home`: the default role's model, or a preloaded one: it may always take a free place.
    """
    chat = {v.model_id: v for v in models if v.kind is Kind.CHAT}
    own = chat.get(model_id)
    if rules.policy is RotationPolicy.ALWAYS or (own and (own.state in OCCUPYING or own.wanted_since is not None)):
        return None
    others = [v for v in chat.values() if v.model_id != model_id and v.state in OCCUPYING]
    if len(others) < rules.max_resident:
        return None if home or rules.policy is RotationPolicy.IDLE else Refusal("no other model", None)
    if rules.policy is RotationPolicy.NEVER:
        return Refusal(others[0].model_id, None)
    waits = [_idle_wait_s(v, rules, now) for v in others if not v.pinned]
    shortest = min(waits, default=None)
    if shortest is not None and shortest <= 0:
        return None
    return Refusal(others[0].model_id, shortest)


def _idle_wait_s(view: ModelView, rules: Rules, now: float) -> float:
    if view.state in (State.DRAINING, State.STOPPING):
        return 0.0
    if view.state is not State.READY or not view.idle:
        return max(rules.min_idle_s, 1.0)
    settled = (now if view.ready_since is None else view.ready_since) + rules.min_residency_s
    return max(view.last_active + rules.min_idle_s, settled) - now

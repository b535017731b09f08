"""Who is loaded, who goes, who waits: a pure function over a view, run again after each fact.

The questions, in order: who has been idle beyond its time; who may be started beside the residents; who must go so
that a waiting one gets in, and may it go yet; which waiting requests may be sent. A busy worker is never stopped:
a swap only closes it to new requests and waits for those that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from roost.config.settings import RotationPolicy
from roost.workers.lifecycle import OCCUPYING, State
from roost.workers.model_view import Kind, ModelView, Rules
from roost.workers.placing import LEAVING, NEVER, Placing, Stuck, going_for, may_go_at

__all__ = ["Kind", "ModelView", "Plan", "Refusal", "Rules", "Stuck", "in_line", "plan", "refusal"]


@dataclass(frozen=True)
class Plan:
    start: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    #: How many waiting requests to send now, a model.
    dispatch: Mapping[str, int] = field(default_factory=dict)
    #: Models whose waiting requests are to be answered: no place will ever be free for them by itself.
    stuck: tuple[Stuck, ...] = ()
    #: When time alone may change the answer; None: only a fact can.
    wake_at: float | None = None


def plan(models: Iterable[ModelView], rules: Rules, now: float) -> Plan:
    """The next actions. Times are monotonic seconds."""
    views = tuple(models)
    expired, wakes = _expired(views, now)
    over, over_wakes = _parked_too_long(views, rules, now)
    beside = [view.model_id for view in views if view.wants_start and not rules.placed(view)]
    candidates = in_line(views, rules, now)
    placing = Placing.among((view for view in views if rules.placed(view)), expired, rules, now)
    placing.give(candidates)
    drained = (*expired, *over, *placing.evicted)
    wakes += [*over_wakes, *placing.wakes, *_turns(candidates, rules, now)]
    return Plan(
        start=(*beside, *placing.started),
        drain=drained,
        dispatch={view.model_id: free for view in views if (free := _dispatchable(view, drained)) > 0},
        stuck=tuple(placing.stuck),
        wake_at=min(wakes, default=None),
    )


def in_line(models: Iterable[ModelView], rules: Rules, now: float) -> list[ModelView]:
    """The models that wait for a place, the next one first: what people asked for by name; what others overtook for
    too long, the oldest first; then by the rank of its most urgent request, and by age. One that has had its turn goes
    behind those that waited for theirs meanwhile, whatever its rank, but a batch never holds up anything else so."""

    def urgency(view: ModelView) -> tuple[bool, bool, int, float]:
        since = view.since(now)
        overtaken = since + rules.max_overtaken_s <= now
        return (view.wanted_since is None, not overtaken, 0 if overtaken else view.priority, since)

    def had_its_turn(view: ModelView, other: ModelView) -> bool:
        if view.left_at is None or view.wanted_since is not None or (other.batch and not view.batch):
            return False
        return other.since(now) < view.left_at

    line = sorted((view for view in models if view.wants_start and rules.placed(view)), key=urgency)
    found: list[ModelView] = []
    while line:
        # There always is one: of those that had their turn, whoever had it first waits for none of the others.
        found.append(next(view for view in line if not any(had_its_turn(view, other) for other in line)))
        line.remove(found[-1])
    return found


def _turns(candidates: list[ModelView], rules: Rules, now: float) -> list[float]:
    """When one of several candidates will have been overtaken for long enough."""
    if len(candidates) < 2:
        return []
    return [due for view in candidates if (due := view.since(now) + rules.max_overtaken_s) > now]


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


def _parked_too_long(views: tuple[ModelView, ...], rules: Rules, now: float) -> tuple[list[str], list[float]]:
    """Parked processes that nobody asked for in time, or that are one too many: the longest parked first."""
    parked = [view for view in views if view.state is State.PARKED and not view.wants_start]
    parked.sort(key=lambda view: view.left_at or 0.0, reverse=True)
    due = {view.model_id: (view.left_at or 0.0) + rules.parked_s for view in parked}
    over = [v.model_id for number, v in enumerate(parked) if number >= rules.max_parked or due[v.model_id] <= now]
    return over, [time for model_id, time in due.items() if model_id not in over]


@dataclass(frozen=True)
class Refusal:
    """A request for a model that is not resident and may not take the resident's place now."""

    resident: str
    #: Seconds after which another try makes sense; None: never by itself.
    retry_after_s: float | None
    #: The resident is pinned, or persistent for others: no policy would let it go.
    stays: bool = False


def refusal(model_id: str, models: Iterable[ModelView], rules: Rules, now: float, *, home: bool) -> Refusal | None:
    """Whether a new request for this model is turned away at once, by the rotation policy or because it could wait for
    ever; None: it may wait in line.

    `home`: the default role's model, or a preloaded one: it may always take a free place.
    """
    views = {view.model_id: view for view in models if rules.placed(view)}
    own = views.get(model_id, ModelView(model_id, State.STOPPED))
    if own.state in OCCUPYING or own.wanted_since is not None:
        return None
    others = [view for view in views.values() if view.model_id != model_id and view.state in OCCUPYING]
    # Who would have to go is asked as if any policy allowed it; whether it does is the next question.
    asked = replace(rules, policy=RotationPolicy.IDLE)
    going = going_for(own, others, asked, now)
    if going is None:
        resident = next((v.model_id for v in others if may_go_at(v, own, asked, now) == NEVER), others[0].model_id)
        return Refusal(resident, None, stays=True)
    return _by_policy(rules, [view for view in others if view.model_id in going], now, home=home)


def _by_policy(rules: Rules, going: list[ModelView], now: float, *, home: bool) -> Refusal | None:
    if rules.policy is RotationPolicy.ALWAYS:
        return None
    if not going:
        return None if home or rules.policy is RotationPolicy.IDLE else Refusal("no other model", None)
    if rules.policy is RotationPolicy.NEVER:
        return Refusal(going[0].model_id, None)
    last = max(going, key=lambda view: _idle_wait_s(view, rules, now))
    wait_s = _idle_wait_s(last, rules, now)
    return Refusal(last.model_id, wait_s) if wait_s > 0 else None


def _idle_wait_s(view: ModelView, rules: Rules, now: float) -> float:
    if view.state in LEAVING:
        return 0.0
    if view.state is not State.READY or not view.idle:
        return max(rules.min_idle_s, 1.0)
    settled = (now if view.ready_since is None else view.ready_since) + rules.min_residency_s
    return max(view.last_active + rules.min_idle_s, settled) - now

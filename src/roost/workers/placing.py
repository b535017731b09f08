"""One round of giving places: who is started, who must go for whom, who waits behind whom. Pure.

Candidates come in the order of their urgency. One that has to wait keeps what it waits for: nobody behind it is started
if that cost it another eviction, so that its wait stays bounded whatever else arrives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from roost.config.layout import make_room
from roost.config.settings import RotationPolicy
from roost.workers.lifecycle import OCCUPYING, State
from roost.workers.model_view import ModelView, Rules

#: States in which a model goes by itself.
LEAVING = frozenset({State.DRAINING, State.PARKING, State.STOPPING})
#: Of a model that may not be closed for that candidate at all.
NEVER = math.inf
#: Candidates that wait for their turn and are reckoned with; whoever is behind them waits for theirs.
_MOST_PENDING = 8


@dataclass(frozen=True)
class Stuck:
    """A model that waits for a place which nothing will ever free by itself."""

    model_id: str
    #: The loaded model that stays.
    resident: str


@dataclass
class Placing:
    rules: Rules
    now: float
    #: Loaded or on their way, and not leaving for anybody yet.
    staying: list[ModelView]
    #: Whatever may hold memory.
    occupying: list[ModelView]
    started: list[str] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    #: Candidates whose turn comes before that of the next one.
    _pending: list[ModelView] = field(default_factory=list)

    @classmethod
    def among(cls, views: Iterable[ModelView], expired: Iterable[str], rules: Rules, now: float) -> Placing:
        occupying = [view for view in views if view.state in OCCUPYING]
        leaving = set(expired)
        staying = [view for view in occupying if view.state not in LEAVING and view.model_id not in leaving]
        return cls(rules, now, staying, occupying)

    def give(self, candidates: Iterable[ModelView]) -> None:
        """Places for all candidates; those that are served at once come out in `started`."""
        for candidate in candidates:
            if len(self._pending) >= _MOST_PENDING:
                break
            self._consider(candidate)

    def _consider(self, candidate: ModelView) -> None:
        going = self._going_for(candidate, [*self.staying, *self._pending], self._pending)
        if going is None:
            # Only those that come first may be in the way; else nothing that happens by itself lets it in.
            if self._going_for(candidate, self.staying) is None:
                self.stuck.append(Stuck(candidate.model_id, self._in_the_way(candidate)))
            else:
                self._pending.append(candidate)
        elif going:
            self._evict_for(candidate, [view for view in self.staying if view.model_id in going])
        elif self._fits_now(candidate) and not self._costs_one_before(candidate):
            self.started.append(candidate.model_id)
            coming = replace(candidate, state=State.LOADING)
            self.staying.append(coming)
            self.occupying.append(coming)
        else:
            self._pending.append(candidate)

    def _evict_for(self, candidate: ModelView, going: list[ModelView]) -> None:
        """All of them at once, when the last of them may go: what they hold is of no use before."""
        times = [may_go_at(view, candidate, self.rules, self.now) for view in going]
        if None not in times:
            when = max(time for time in times if time is not None)
            if when <= self.now:
                self.evicted += [view.model_id for view in going]
            else:
                self.wakes.append(when)
        self.staying = [view for view in self.staying if view not in going]
        self._pending.append(candidate)

    def _going_for(
        self, candidate: ModelView, present: Sequence[ModelView], first: Sequence[ModelView] = ()
    ) -> frozenset[str] | None:
        return going_for(candidate, present, self.rules, self.now, fixed=frozenset(view.model_id for view in first))

    def _fits_now(self, candidate: ModelView) -> bool:
        """Whether nothing that may hold memory is in the way, however briefly it stays."""
        return going_for(candidate, self.occupying, self.rules, self.now) == frozenset()

    def _costs_one_before(self, candidate: ModelView) -> bool:
        """Whether one whose turn comes first would have to evict this one too."""
        for other in self._pending:
            without = self._going_for(other, self.staying)
            beside = self._going_for(other, [*self.staying, candidate])
            if beside is None or len(beside) > len(without or ()):
                return True
        return False

    def _in_the_way(self, candidate: ModelView) -> str:
        fixed = (v for v in self.staying if may_go_at(v, candidate, self.rules, self.now) == NEVER)
        return next((view.model_id for view in (*fixed, *self.staying)), candidate.model_id)


def going_for(
    candidate: ModelView, present: Sequence[ModelView], rules: Rules, now: float, fixed: frozenset[str] = frozenset()
) -> frozenset[str] | None:
    """Who of those present must go so that the candidate can be loaded; None: somebody who may not."""
    times = {view.model_id: may_go_at(view, candidate, rules, now) for view in present}
    counted = {view.model_id for view in (*present, candidate) if view.counted}

    def reluctance(view: ModelView) -> tuple[float, bool, float]:
        time = times[view.model_id]
        return (NEVER if time is None else max(time, now), not view.idle, view.last_active)

    return make_room(
        rules.layout,
        candidate.model_id,
        [view.model_id for view in sorted(present, key=reluctance)],
        fixed | {model_id for model_id, time in times.items() if time == NEVER},
        counted.__contains__,
        rules.max_resident,
    )


def may_go_at(view: ModelView, candidate: ModelView, rules: Rules, now: float) -> float | None:
    """When this resident may be closed for that candidate; NEVER, or None: no time is known, a fact must come first."""
    if view.state in LEAVING:
        return -math.inf
    wanted = candidate.wanted_since is not None
    if view.pinned or (rules.policy is RotationPolicy.NEVER and not wanted):
        return NEVER
    if view.state is not State.READY or view.ready_since is None or view.has_yet_to_serve:
        return None
    settled = view.ready_since + rules.min_residency_s
    if view.idle and not wanted:
        return max(settled, view.last_active + rules.rest_s(candidate))
    if wanted or (view.batch and not candidate.batch):
        return settled
    return max(settled, candidate.since(now) + rules.patience_s(candidate))

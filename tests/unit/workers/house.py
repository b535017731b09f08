"""A house of simulated models under the real plan: time goes from event to event, and only facts and the plan's own
`wake_at` make it look again. So a time that the plan forgets to name is a waiter that nobody serves."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from roost.workers.lifecycle import OCCUPYING, STARTABLE, State
from roost.workers.residency import Kind, ModelView, Rules, plan
from roost.workers.types import BATCH_RANK

#: Who is started or evicted, and who is there or waits meanwhile: whether that may be.
Oracle = Callable[[str, frozenset[str]], bool]


def anything(name: str, others: frozenset[str]) -> bool:
    return True


@dataclass(eq=False)
class Asked:
    """One request."""

    at: float
    model: str
    work_s: float = 1.0
    batch: bool = False
    #: The client leaves so long after it came, if it still waits then.
    patience_s: float | None = None
    sent_at: float | None = None
    left: bool = False
    refused: bool = False

    @property
    def waited_s(self) -> float:
        assert self.sent_at is not None
        return self.sent_at - self.at

    @property
    def open(self) -> bool:
        return self.sent_at is None and not self.left and not self.refused


@dataclass(eq=False)
class Simulated:
    name: str
    load_s: float = 1.0
    stop_s: float = 0.5
    concurrency: int = 2
    priority: int = 0
    pinned: bool = False
    #: Its process stays without its memory when it goes.
    parks: bool = False
    kind: Kind = Kind.CHAT
    state: State = State.STOPPED
    waiting: list[Asked] = field(default_factory=list)
    running: list[Asked] = field(default_factory=list)
    ready_since: float | None = None
    left_at: float | None = None
    last_active: float = 0.0
    wanted_since: float | None = None
    starts: list[float] = field(default_factory=list)

    def rank(self, asked: Asked) -> int:
        return -self.priority + (BATCH_RANK if asked.batch else 0)

    def view(self) -> ModelView:
        return ModelView(
            self.name,
            self.state,
            kind=self.kind,
            running=len(self.running),
            waiting=tuple(asked.at for asked in self.waiting),
            priority=min((self.rank(asked) for asked in self.waiting), default=0),
            batch=all(asked.batch for asked in (*self.waiting, *self.running)),
            concurrency=self.concurrency,
            ready_since=self.ready_since,
            left_at=self.left_at,
            last_active=self.last_active,
            pinned=self.pinned,
            wanted_since=self.wanted_since,
        )


class House:
    def __init__(
        self, rules: Rules, models: list[Simulated], may_start: Oracle = anything, may_go: Oracle = anything
    ) -> None:
        self.rules, self.may_start, self.may_go = rules, may_start, may_go
        self.models = {model.name: model for model in models}
        self.now = 0.0
        self.asked: list[Asked] = []
        #: Names in the order in which they were started.
        self.started: list[str] = []
        #: Who was told that it will never get a place.
        self.turned_away: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def ask(self, *requests: Asked) -> None:
        for asked in requests:
            self.asked.append(asked)
            self._at(asked.at, lambda asked=asked: self._arrive(asked))

    def want(self, name: str, at: float) -> None:
        """Somebody asks for it by name."""

        def asked() -> None:
            if self.models[name].state is not State.READY:
                self.models[name].wanted_since = self.now

        self._at(at, asked)

    def run(self) -> None:
        """Until nothing will ever happen again."""
        for _ in range(100_000):
            if not self._events:
                return
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._look()
        raise AssertionError("the house never comes to rest")

    @property
    def there(self) -> frozenset[str]:
        return frozenset(name for name, model in self.models.items() if model.state in OCCUPYING)

    def counted(self, names: Iterable[str]) -> int:
        return sum(self.models[name].kind is Kind.CHAT for name in names)

    def _at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), act))

    # Facts.

    def _arrive(self, asked: Asked) -> None:
        line = self.models[asked.model].waiting
        line.append(asked)
        line.sort(key=lambda one: (self.models[asked.model].rank(one), one.at))
        if asked.patience_s is not None:
            self._at(self.now + asked.patience_s, lambda: self._leave(asked))

    def _leave(self, asked: Asked) -> None:
        if asked.open:
            asked.left = True
            self.models[asked.model].waiting.remove(asked)

    def _loaded(self, model: Simulated) -> None:
        model.state, model.ready_since, model.last_active, model.wanted_since = State.READY, self.now, self.now, None

    def _stopped(self, model: Simulated) -> None:
        parked = model.parks and self.rules.max_parked > 0
        model.state, model.ready_since = State.PARKED if parked else State.STOPPED, None

    def _done(self, model: Simulated, asked: Asked) -> None:
        model.running.remove(asked)
        model.last_active = self.now

    # What the supervisor does with a plan.

    def _look(self) -> None:
        for _ in range(50):
            self._finish_drains()
            decided = plan([model.view() for model in self.models.values()], self.rules, self.now)
            for name in decided.drain:
                self._drain(self.models[name])
            for name in decided.start:
                self._start(self.models[name])
            for name, most in decided.dispatch.items():
                for _ in range(most):
                    self._send(self.models[name])
            for stuck in decided.stuck:
                self._turn_away(self.models[stuck.model_id], stuck.resident)
            if not (decided.drain or decided.start or decided.stuck):
                break
        else:
            raise AssertionError("the plan never settles")
        parked = sum(model.state is State.PARKED and not model.view().wants_start for model in self.models.values())
        assert parked <= self.rules.max_parked
        if decided.wake_at is not None:
            assert decided.wake_at > self.now
            self._at(decided.wake_at, lambda: None)

    def _finish_drains(self) -> None:
        for model in self.models.values():
            if model.state is State.DRAINING and not model.running:
                model.state = State.PARKING if model.parks else State.STOPPING
                self._at(self.now + model.stop_s, lambda model=model: self._stopped(model))

    def _drain(self, model: Simulated) -> None:
        if model.state is State.PARKED:
            assert not model.waiting and model.wanted_since is None, "a request waits for it"
            model.state = State.STOPPED
            return
        assert model.state is State.READY and model.ready_since is not None
        assert not model.pinned, "a pinned model was evicted"
        assert self.now >= model.ready_since + self.rules.min_residency_s, "it had hardly come"
        waiting = frozenset(m.name for m in self.models.values() if m.view().wants_start)
        assert self.may_go(model.name, waiting), f"{model.name} made room for none of {set(waiting)}"
        model.state, model.left_at = State.DRAINING, self.now

    def _start(self, model: Simulated) -> None:
        assert model.state in STARTABLE
        assert model.waiting or model.wanted_since is not None, "nobody waits for it"
        there = self.there
        fits = self.counted((*there, model.name)) <= self.rules.max_resident
        assert model.kind is not Kind.CHAT or fits, "more than there are places"
        assert self.may_start(model.name, there), f"{model.name} beside {set(there)}"
        model.state = State.LOADING
        model.starts.append(self.now)
        self.started.append(model.name)
        self._at(self.now + model.load_s, lambda: self._loaded(model))

    def _send(self, model: Simulated) -> None:
        assert model.state is State.READY and len(model.running) < model.concurrency
        oldest = min(model.waiting, key=lambda one: one.at)
        overtaken = oldest.at + self.rules.max_overtaken_s <= self.now
        asked = oldest if overtaken else model.waiting[0]
        model.waiting.remove(asked)
        asked.sent_at = self.now
        model.running.append(asked)
        model.last_active = self.now
        self._at(self.now + asked.work_s, lambda: self._done(model, asked))

    def _turn_away(self, model: Simulated, resident: str) -> None:
        assert self.models[resident].state in OCCUPYING
        self.turned_away.append(model.name)
        model.wanted_since = None
        for asked in model.waiting:
            asked.refused = True
        model.waiting.clear()

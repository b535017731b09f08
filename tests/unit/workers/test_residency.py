"""The plan, question by question; then under random traffic against its promises."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.config.layout import Combined, Grouped
from roost.config.settings import GroupSettings, MatrixSettings, RotationPolicy
from roost.workers.lifecycle import OCCUPYING, State
from roost.workers.residency import Kind, ModelView, Rules, in_line, plan, refusal

ALWAYS = Rules(policy=RotationPolicy.ALWAYS, min_residency_s=2.0, max_wait_s=15.0)
IDLE = Rules(policy=RotationPolicy.IDLE, min_idle_s=60.0)
NEVER = Rules(policy=RotationPolicy.NEVER)


def resident(name: str = "a", **values: object) -> ModelView:
    base = {"model_id": name, "state": State.READY, "ready_since": 0.0, "last_active": 0.0, "concurrency": 2}
    return ModelView(**{**base, **values})  # type: ignore[arg-type]


def wanted(name: str = "b", since: float = 100.0, **values: object) -> ModelView:
    return ModelView(**{"model_id": name, "state": State.STOPPED, "waiting": (since,), **values})  # type: ignore[arg-type]


def test_a_waited_for_model_starts_when_a_place_is_free() -> None:
    assert plan([wanted()], ALWAYS, 100.0).start == ("b",)


def test_an_idle_resident_goes_at_once_under_always() -> None:
    result = plan([resident(last_active=99.0), wanted()], ALWAYS, 100.0)
    assert result.drain == ("a",) and result.start == ()


def test_a_busy_resident_stays_until_the_wait_is_over() -> None:
    models = [resident(running=1), wanted(since=100.0)]
    early = plan(models, ALWAYS, 105.0)
    assert early.drain == () and early.wake_at == 115.0
    assert plan(models, ALWAYS, 115.0).drain == ("a",)


def test_no_swap_before_the_least_residency() -> None:
    result = plan([resident(ready_since=99.0), wanted()], ALWAYS, 100.0)
    assert result.drain == () and result.wake_at == 101.0


def test_a_model_that_has_just_come_serves_before_it_goes_however_long_another_has_waited() -> None:
    rules = replace(ALWAYS, min_residency_s=0.0)
    just_come = resident(waiting=(50.0,), ready_since=100.0, last_active=100.0)
    first = plan([just_come, wanted(since=60.0)], rules, 100.0)
    assert first.drain == () and first.dispatch == {"a": 1}
    served = replace(just_come, waiting=(), running=1, last_active=100.1)
    assert plan([served, wanted(since=60.0)], rules, 100.2).drain == ("a",)


def test_a_resident_that_is_closed_gets_no_further_request() -> None:
    models = [resident(running=1, waiting=(101.0,)), wanted(since=100.0)]
    result = plan(models, ALWAYS, 115.0)
    assert result.drain == ("a",) and "a" not in result.dispatch


def test_one_that_leaves_is_enough_for_one_that_waits() -> None:
    models = [resident(state=State.DRAINING), wanted()]
    assert plan(models, ALWAYS, 500.0).drain == ()


def test_a_pinned_resident_is_never_evicted() -> None:
    assert plan([resident(pinned=True), wanted()], ALWAYS, 500.0).drain == ()


def test_what_a_person_asked_for_evicts_whatever_the_policy() -> None:
    models = [resident(), ModelView("b", State.STOPPED, wanted_since=100.0)]
    for rules in (ALWAYS, IDLE, NEVER):
        assert plan(models, rules, 100.0).drain == ("a",)


def test_an_idle_model_goes_after_its_time() -> None:
    model = resident(idle_ttl_s=30.0, last_active=100.0)
    assert plan([model], IDLE, 129.0).wake_at == 130.0
    assert plan([model], IDLE, 130.0).drain == ("a",)


def test_a_model_in_use_has_no_idle_time() -> None:
    assert plan([resident(idle_ttl_s=30.0, running=1)], IDLE, 500.0).drain == ()


def test_an_auxiliary_worker_stands_beside_the_resident() -> None:
    result = plan([resident(), wanted("e", kind=Kind.AUXILIARY)], NEVER, 100.0)
    assert result.start == ("e",) and result.drain == ()


def test_waiting_requests_are_sent_up_to_the_concurrency() -> None:
    assert plan([resident(running=1, waiting=(1.0, 2.0, 3.0))], IDLE, 10.0).dispatch == {"a": 1}


def test_the_most_urgent_candidate_starts_first() -> None:
    models = [wanted("b", since=90.0, priority=5), wanted("c", since=100.0, priority=1)]
    assert plan(models, ALWAYS, 101.0).start == ("c",)


def test_two_places_hold_two_models() -> None:
    rules = Rules(policy=RotationPolicy.ALWAYS, max_resident=2)
    assert plan([resident(), wanted("b"), wanted("c", since=101.0)], rules, 101.0).start == ("b",)


def test_who_waits_keeps_the_place_that_it_waits_for() -> None:
    """`x` pushes everything out and waits for `a`; if `b` came in beside `a`, `x` would have to wait for it too."""
    groups = {name: GroupSettings(members=(name,), exclusive=name == "x") for name in "abx"}
    rules = replace(ALWAYS, layout=Grouped.of(groups), max_resident=3)
    models = [resident(running=1), wanted("x", since=100.0), wanted("b", since=101.0)]
    assert plan(models, rules, 105.0).start == ()
    assert plan([models[0], models[2]], rules, 105.0).start == ("b",)
    assert plan(models, rules, 115.0).drain == ("a",)


def test_a_model_that_was_overtaken_for_too_long_is_next_and_the_plan_looks_again_then() -> None:
    rules = replace(ALWAYS, max_wait_s=200.0, max_overtaken_s=120.0)
    models = [resident(running=1), wanted("b", since=100.0), wanted("c", since=150.0, priority=-5)]
    assert [view.model_id for view in in_line(models, rules, 160.0)] == ["c", "b"]
    assert plan(models, rules, 160.0).wake_at == 220.0
    assert [view.model_id for view in in_line(models, rules, 220.0)] == ["b", "c"]


def test_a_batch_does_not_use_the_pause_between_two_requests() -> None:
    models = [resident(last_active=100.0), wanted(since=90.0, batch=True)]
    early = plan(models, ALWAYS, 100.5)
    assert early.drain == () and early.wake_at == 102.0
    assert plan(models, ALWAYS, 102.0).drain == ("a",)
    assert plan([models[0], replace(models[1], batch=False)], ALWAYS, 100.5).drain == ("a",)


def test_a_request_that_could_only_wait_for_ever_is_turned_away() -> None:
    models = [resident(pinned=True), wanted()]
    assert [stuck.model_id for stuck in plan(models, ALWAYS, 500.0).stuck] == ["b"]
    for rules in (ALWAYS, IDLE):
        refused = refusal("b", models[:1], rules, 500.0, home=False)
        assert refused is not None and refused.stays and refused.resident == "a" and refused.retry_after_s is None


def test_an_exclusive_newcomer_waits_for_all_that_it_pushes_out_and_they_go_together() -> None:
    groups = {"small": GroupSettings(members=("a", "b"), swap=False), "big": GroupSettings(members=("x",))}
    rules = replace(ALWAYS, layout=Grouped.of(groups), max_resident=3)
    models = [resident("a"), resident("b", running=1), wanted("x", since=100.0)]
    assert plan(models, rules, 101.0).drain == ()
    assert set(plan(models, rules, 115.0).drain) == {"a", "b"}


def test_a_persistent_group_is_left_alone_by_others_and_not_by_itself() -> None:
    groups = {"kept": GroupSettings(members=("a", "b"), persistent=True, exclusive=False)}
    rules = replace(ALWAYS, layout=Grouped.of(groups), max_resident=2)
    assert plan([resident("a"), wanted("x")], rules, 500.0).start == ("x",)
    assert plan([resident("a"), resident("x"), wanted("b")], rules, 500.0).drain == ("a",)
    assert plan([resident("a"), resident("x"), wanted("y")], rules, 500.0).drain == ("x",)
    alone = replace(rules, max_resident=1)
    assert [stuck.resident for stuck in plan([resident("a"), wanted("x")], alone, 500.0).stuck] == ["a"]


def test_of_the_combinations_the_one_that_costs_least_is_made_room_for() -> None:
    matrix = MatrixSettings(sets={"one": "x & a", "two": "x & b & c"}, evict_costs={"a": 3})
    rules = replace(ALWAYS, layout=Combined.of(matrix), max_resident=3)
    there = [resident("a"), resident("b"), resident("c")]
    assert plan([*there, wanted("x")], rules, 500.0).drain == ("b", "c")
    costly = replace(rules, layout=Combined.of(matrix.model_copy(update={"evict_costs": {"b": 3}})))
    assert plan([*there, wanted("x")], costly, 500.0).drain == ("a",)
    pinned = [resident("a", pinned=True), *there[1:]]
    assert plan([*pinned, wanted("x")], costly, 500.0).drain == ("b", "c")
    assert set(plan([*there, wanted("z")], rules, 500.0).drain) == {"a", "b", "c"}


def test_a_layout_holds_for_an_embedding_model_that_it_names_but_it_takes_no_place() -> None:
    groups = {"all": GroupSettings(members=("a", "e"))}
    rules = replace(ALWAYS, layout=Grouped.of(groups))
    embedder = wanted("e", kind=Kind.AUXILIARY)
    assert plan([resident("a"), embedder], rules, 500.0).drain == ("a",)
    beside = replace(rules, layout=Grouped.of({"all": GroupSettings(members=("a", "e"), swap=False)}))
    assert plan([resident("a"), embedder], beside, 500.0).start == ("e",)


def test_never_refuses_for_good_and_names_the_resident() -> None:
    refused = refusal("b", [resident()], NEVER, 100.0, home=False)
    assert refused is not None and refused.resident == "a" and refused.retry_after_s is None


def test_idle_refuses_until_the_resident_has_rested() -> None:
    models = [resident(last_active=100.0)]
    refused = refusal("b", models, IDLE, 110.0, home=False)
    assert refused is not None and refused.retry_after_s == 50.0
    assert refusal("b", models, IDLE, 160.0, home=False) is None


def test_a_busy_resident_has_not_rested() -> None:
    refused = refusal("b", [resident(running=1)], IDLE, 1000.0, home=False)
    assert refused is not None and refused.retry_after_s is not None


def test_the_resident_itself_and_one_that_loads_are_never_refused() -> None:
    assert refusal("a", [resident()], NEVER, 100.0, home=False) is None
    assert refusal("a", [resident(state=State.LOADING)], NEVER, 100.0, home=False) is None


def test_under_never_an_empty_house_is_kept_for_the_home_model() -> None:
    assert refusal("a", [], NEVER, 100.0, home=True) is None
    assert refusal("b", [], NEVER, 100.0, home=False) is not None


@dataclass
class Simulated:
    """A worker with instant lifecycle but for load and stop times, driven by the real plan."""

    name: str
    state: State = State.STOPPED
    until: float = 0.0
    waiting: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    ready_since: float | None = None
    last_active: float = 0.0

    def view(self) -> ModelView:
        return ModelView(
            self.name,
            self.state,
            running=len(self.running),
            waiting=tuple(self.waiting),
            concurrency=2,
            ready_since=self.ready_since,
            last_active=self.last_active,
        )


class World:
    """Time moves in ticks of half a second; requests take `work_s`."""

    def __init__(self, rules: Rules, work_s: float) -> None:
        self.rules, self.work_s, self.now = rules, work_s, 0.0
        self.models = {name: Simulated(name) for name in "abc"}
        self.served_after: list[float] = []

    def arrive(self, name: str) -> None:
        self.models[name].waiting.append(self.now)

    def tick(self) -> None:
        self.now += 0.5
        for model in self.models.values():
            self._age(model)
        for _ in range(4):
            self._act()
        assert sum(m.state in OCCUPYING for m in self.models.values()) <= self.rules.max_resident

    def _age(self, model: Simulated) -> None:
        finished = [end for end in model.running if end <= self.now]
        if finished:
            model.running = [end for end in model.running if end > self.now]
            model.last_active = self.now
        if model.state is State.LOADING and self.now >= model.until:
            model.state, model.ready_since, model.last_active = State.READY, self.now, self.now
        if model.state is State.DRAINING and not model.running:
            model.state, model.until = State.STOPPING, self.now + 0.5
        elif model.state is State.STOPPING and self.now >= model.until:
            assert not model.running, "a busy worker was stopped"
            model.state, model.ready_since = State.STOPPED, None

    def _act(self) -> None:
        decided = plan([m.view() for m in self.models.values()], self.rules, self.now)
        for name in decided.drain:
            assert self.models[name].state is State.READY
            self.models[name].state = State.DRAINING
        for name in decided.start:
            assert self.models[name].state is State.STOPPED
            self.models[name].state, self.models[name].until = State.LOADING, self.now + 1.0
        for name, count in decided.dispatch.items():
            for _ in range(count):
                model = self.models[name]
                self.served_after.append(self.now - model.waiting.pop(0))
                model.running.append(self.now + self.work_s)
                model.last_active = self.now


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=5, max_size=120),
    st.floats(0.5, 4.0),
    st.integers(1, 2),
)
def test_whatever_arrives_nobody_waits_for_ever_and_no_busy_worker_is_stopped(
    arrivals: list[str | None], work_s: float, max_resident: int
) -> None:
    rules = Rules(RotationPolicy.ALWAYS, min_residency_s=1.0, max_wait_s=5.0, max_resident=max_resident)
    world = World(rules, work_s)
    for name in arrivals:
        if name:
            world.arrive(name)
        world.tick()
    for _ in range(600):
        if not any(m.waiting for m in world.models.values()):
            break
        world.tick()
    assert not any(m.waiting for m in world.models.values()), "a waiter was lost"
    assert len(world.served_after) == sum(name is not None for name in arrivals)


def test_an_unbroken_stream_to_the_resident_does_not_starve_another() -> None:
    world = World(Rules(RotationPolicy.ALWAYS, min_residency_s=1.0, max_wait_s=5.0), work_s=1.5)
    world.arrive("a")
    for tick in range(80):
        world.arrive("a")
        if tick == 10:
            world.arrive("b")
            asked_at = world.now
        world.tick()
        if tick > 10 and not world.models["b"].waiting:
            break
    # max_wait, the longest running request, the stop and the load
    assert world.now - asked_at <= 5.0 + 1.5 + 0.5 + 1.0 + 2.0

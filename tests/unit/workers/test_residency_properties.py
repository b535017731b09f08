"""Random houses under random traffic: what the plan promises holds in all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.config.layout import Combined, Grouped, Layout, Unlimited
from roost.config.settings import GroupSettings, MatrixSettings, RotationPolicy
from roost.workers.lifecycle import State
from roost.workers.residency import Kind, Rules
from tests.unit.workers.house import Asked, House, Simulated

NAMES = "abcdef"
MIN_RESIDENCY_S, MAX_WAIT_S, MAX_OVERTAKEN_S = 1.0, 5.0, 20.0
seconds = st.floats(0.1, 3.0)


@dataclass(frozen=True)
class Groups:
    """Groups, and what they mean said a second time."""

    groups: dict[str, GroupSettings]

    def layout(self) -> Layout:
        return Grouped.of(self.groups)

    def group(self, name: str) -> tuple[str, GroupSettings]:
        own = ((key, group) for key, group in self.groups.items() if name in group.members)
        return next(own, ("", GroupSettings()))

    def pushes_out(self, newcomer: str, name: str) -> bool:
        (here, own), (there, other) = self.group(newcomer), self.group(name)
        return own.swap if here == there else own.exclusive and not other.persistent

    def may_start(self, newcomer: str, there: frozenset[str]) -> bool:
        return not any(self.pushes_out(newcomer, name) for name in there)

    def may_go_for_a_place(self, newcomer: str, name: str) -> bool:
        (here, _), (there, other) = self.group(newcomer), self.group(name)
        return here == there or not other.persistent


@dataclass(frozen=True)
class Sets:
    """Sets written out, and the same as expressions."""

    sets: tuple[frozenset[str], ...]
    costs: dict[str, int]

    def layout(self) -> Layout:
        texts = {f"s{number}": " & ".join(sorted(one)) for number, one in enumerate(self.sets)}
        return Combined.of(MatrixSettings(sets=texts, evict_costs=self.costs))

    def pushes_out(self, newcomer: str, name: str) -> bool:
        """Which of them go depends on all that are there; those with a common set might have stayed together."""
        return True

    def may_start(self, newcomer: str, there: frozenset[str]) -> bool:
        return not there or any(there | {newcomer} <= one for one in self.sets)

    def may_go_for_a_place(self, newcomer: str, name: str) -> bool:
        return True


@dataclass(frozen=True)
class Free:
    def layout(self) -> Layout:
        return Unlimited()

    def pushes_out(self, newcomer: str, name: str) -> bool:
        return False

    def may_start(self, newcomer: str, there: frozenset[str]) -> bool:
        return True

    def may_go_for_a_place(self, newcomer: str, name: str) -> bool:
        return True


@st.composite
def grouped(draw: st.DrawFn) -> Groups:
    keys = draw(st.lists(st.sampled_from("-xyz"), min_size=len(NAMES), max_size=len(NAMES)))
    flags = st.booleans()
    return Groups(
        {
            key: GroupSettings(
                members=tuple(name for name, own in zip(NAMES, keys, strict=True) if own == key),
                swap=draw(flags),
                exclusive=draw(flags),
                persistent=draw(flags),
            )
            for key in sorted(set(keys) - {"-"})
        }
    )


some = st.sets(st.sampled_from(NAMES), min_size=1, max_size=4).map(frozenset)
sets = st.builds(
    Sets,
    st.lists(some, min_size=1, max_size=5).map(tuple),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), max_size=3),
)
layouts = st.one_of(st.just(Free()), grouped(), sets)


@st.composite
def requests(draw: st.DrawFn, *, batches: bool = True, leaving: bool = True) -> list[Asked]:
    gaps = draw(st.lists(st.floats(0.0, 1.5), min_size=1, max_size=60))
    at, found = 0.0, []
    for gap in gaps:
        at += gap
        found.append(
            Asked(
                at,
                draw(st.sampled_from(NAMES)),
                draw(seconds),
                batch=batches and draw(st.booleans()),
                patience_s=draw(st.none() | st.floats(0.0, 4.0)) if leaving else None,
            )
        )
    return found


@st.composite
def houses(draw: st.DrawFn, *, pins: bool = False, policy: RotationPolicy = RotationPolicy.ALWAYS) -> House:
    kind = draw(layouts)
    rules = Rules(
        policy,
        min_idle_s=2.0,
        min_residency_s=MIN_RESIDENCY_S,
        max_wait_s=MAX_WAIT_S,
        max_overtaken_s=MAX_OVERTAKEN_S,
        max_resident=draw(st.integers(1, 4)),
        max_parked=draw(st.integers(0, 3)),
        parked_s=draw(st.floats(0.5, 30.0)),
        layout=kind.layout(),
    )
    models = [
        Simulated(
            name,
            load_s=draw(seconds),
            stop_s=draw(st.floats(0.0, 1.0)),
            concurrency=draw(st.integers(1, 3)),
            priority=draw(st.integers(-2, 2)),
            pinned=pins and draw(st.booleans()),
            parks=draw(st.booleans()),
            kind=draw(st.sampled_from([Kind.CHAT, Kind.CHAT, Kind.CHAT, Kind.AUXILIARY])),
        )
        for name in NAMES
    ]
    named = rules.layout.names
    auxiliary = {model.name for model in models if model.kind is Kind.AUXILIARY and not named(model.name)}

    def may_start(newcomer: str, there: frozenset[str]) -> bool:
        # Whoever stands beside everything is in nobody's way.
        return newcomer in auxiliary or kind.may_start(newcomer, there - auxiliary)

    def may_go(name: str, waiting: frozenset[str]) -> bool:
        """Somebody pushes it out, or needs its place."""
        if any(kind.pushes_out(newcomer, name) for newcomer in waiting - auxiliary):
            return True
        asking = [one for one in waiting if house.counted([one])]
        full = house.counted(house.there) + len(asking) > rules.max_resident
        return full and house.counted([name]) == 1 and any(kind.may_go_for_a_place(one, name) for one in asking)

    house = House(rules, models, may_start, may_go)
    return house


def persistent(house: House) -> set[str]:
    layout = house.rules.layout
    if not isinstance(layout, Grouped):
        return set()
    return {name for group in layout.groups.values() if group.persistent for name in group.members}


def longest_turn_s(house: House) -> float:
    """A model's turn at the longest: what the one before it still does, its stop, the load, its least time."""
    models = house.models.values()
    work = max((asked.work_s for asked in house.asked), default=0.0)
    return work + max(m.stop_s for m in models) + max(m.load_s for m in models) + MIN_RESIDENCY_S


def longest_wait_s(house: House) -> float:
    """However urgent others are: overtaken for so long, then one turn for each other model, and as many rounds of that
    as the longest line takes."""
    per_model = max((sum(a.model == name for a in house.asked) for name in NAMES), default=1)
    rounds = -(-per_model // min(model.concurrency for model in house.models.values()))
    return MAX_OVERTAKEN_S + MAX_WAIT_S + rounds * len(NAMES) * longest_turn_s(house)


@settings(max_examples=300, deadline=None)
@given(houses(), requests())
def test_everybody_is_served_in_bounded_time_and_no_rule_is_broken(house: House, asked: list[Asked]) -> None:
    house.ask(*asked)
    house.run()
    assert not [one for one in asked if one.open], "a waiter was lost"
    assert not house.turned_away or persistent(house)
    assert max((one.waited_s for one in asked if one.sent_at is not None), default=0.0) <= longest_wait_s(house)


@settings(max_examples=150, deadline=None)
@given(houses(pins=True), requests(), st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from(NAMES)), max_size=6))
def test_pins_and_what_people_ask_for_by_name_lose_no_waiter(
    house: House, asked: list[Asked], wanted: list[tuple[float, str]]
) -> None:
    house.ask(*asked)
    for at, name in wanted:
        house.want(name, at)
    house.run()
    assert not [one for one in asked if one.open]
    assert not [model.name for model in house.models.values() if model.wanted_since is not None]
    stay = persistent(house) | {model.name for model in house.models.values() if model.pinned}
    assert not house.turned_away or stay & {*house.started}


@settings(max_examples=100, deadline=None)
@given(houses(), requests())
def test_nobody_stays_parked_for_ever(house: House, asked: list[Asked]) -> None:
    house.ask(*asked)
    house.run()
    assert not [model.name for model in house.models.values() if model.state is State.PARKED]


@settings(max_examples=100, deadline=None)
@given(houses(policy=RotationPolicy.IDLE), requests())
def test_who_was_let_into_the_line_under_idle_is_served_too(house: House, asked: list[Asked]) -> None:
    house.ask(*asked)
    house.run()
    assert not [one for one in asked if one.open]


@settings(max_examples=100, deadline=None)
@given(houses(), requests(batches=False, leaving=False))
def test_a_burst_loads_each_model_once(house: House, asked: list[Asked]) -> None:
    """Whatever the order of arrival: requests for one model are taken together."""
    house.rules = replace(house.rules, max_wait_s=10_000.0, max_overtaken_s=20_000.0)
    for one in asked:
        one.at = 0.0
    house.ask(*asked)
    house.run()
    assert all(len(model.starts) <= 1 for model in house.models.values())


@settings(max_examples=100, deadline=None)
@given(houses(), requests(leaving=False))
def test_a_request_that_leaves_the_line_never_starts_its_model(house: House, asked: list[Asked]) -> None:
    for one in asked:
        one.patience_s = 0.0
    busy = [Asked(0.0, name, work_s=1_000.0) for name in NAMES]
    for model in house.models.values():
        model.concurrency = 1
    house.rules = replace(house.rules, max_wait_s=10_000.0, max_overtaken_s=20_000.0)
    house.ask(*busy, *(replace(one, at=one.at + 100.0) for one in asked))
    house.run()
    assert all(len(model.starts) <= 1 for model in house.models.values())
    assert not [one for one in busy if one.open]


def test_the_longest_parked_is_ended_when_one_more_parks() -> None:
    rules = Rules(RotationPolicy.ALWAYS, min_residency_s=0.1, max_wait_s=MAX_WAIT_S, max_parked=1, parked_s=30.0)
    house = House(rules, [Simulated(name, parks=True) for name in "abcd"])
    house.ask(*(Asked(4.0 * number, name) for number, name in enumerate("abcd")))
    house.run()
    assert house.started == ["a", "b", "c", "d"]


work, gaps = st.floats(1.0, 4.0), st.floats(0.25, 0.9)


@settings(max_examples=100, deadline=None)
@given(work, gaps, st.floats(0.1, 3.0), st.floats(0.0, 1.0), st.floats(3.0, 20.0))
def test_unbroken_traffic_to_the_resident_delays_a_swap_by_max_wait_and_what_runs(
    work_s: float, gap_s: float, load_s: float, stop_s: float, asked_at: float
) -> None:
    rules = Rules(RotationPolicy.ALWAYS, min_residency_s=MIN_RESIDENCY_S, max_wait_s=MAX_WAIT_S)
    house = House(rules, [Simulated("a"), Simulated("b", load_s=load_s)])
    house.models["a"].stop_s = stop_s
    other = Asked(asked_at, "b")
    house.ask(*traffic(gap_s, work_s, 40.0), other)
    house.run()
    assert other.waited_s <= MAX_WAIT_S + work_s + stop_s + load_s + 0.001


def traffic(gap_s: float, work_s: float, until: float) -> list[Asked]:
    """More than the model can do, if the gap is short: its line never ends."""
    return [Asked(number * gap_s, "a", work_s) for number in range(int(until / gap_s))]


def test_a_model_whose_line_never_ends_is_not_loaded_again_before_the_one_that_it_was_closed_for() -> None:
    rules = Rules(RotationPolicy.ALWAYS, min_residency_s=MIN_RESIDENCY_S, max_wait_s=MAX_WAIT_S)
    house = House(rules, [Simulated("a", priority=9), Simulated("b"), Simulated("c")])
    house.ask(*traffic(0.25, 2.0, 30.0), Asked(4.0, "b"), Asked(5.0, "c"))
    house.run()
    assert house.started[:4] == ["a", "b", "c", "a"]


@settings(max_examples=60, deadline=None)
@given(work, gaps, st.sampled_from("ab"))
def test_a_batch_is_overtaken_by_interactive_requests_but_not_for_ever(work_s: float, gap_s: float, model: str) -> None:
    """Both in the line of the model that is loaded and for a place."""
    rules = Rules(
        RotationPolicy.ALWAYS,
        min_residency_s=MIN_RESIDENCY_S,
        max_wait_s=MAX_WAIT_S,
        max_overtaken_s=MAX_OVERTAKEN_S,
    )
    house = House(rules, [Simulated("a", concurrency=1), Simulated("b")])
    first, *rest = traffic(gap_s, work_s, 40.0)
    batch = Asked(0.0, model, batch=True)
    house.ask(first, batch, *rest)
    house.run()
    assert MAX_OVERTAKEN_S <= batch.waited_s <= MAX_OVERTAKEN_S + work_s + 0.5 + 1.0 + 0.001


def test_batches_keep_no_interactive_request_waiting_for_a_place() -> None:
    rules = Rules(RotationPolicy.ALWAYS, min_residency_s=MIN_RESIDENCY_S, max_wait_s=MAX_WAIT_S)
    house = House(rules, [Simulated("a"), Simulated("b")])
    other = Asked(10.0, "b")
    house.ask(*(replace(one, batch=True) for one in traffic(0.5, 2.0, 30.0)), other)
    house.run()
    # What runs, the stop, the load.
    assert other.waited_s <= 2.0 + 0.5 + 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bcd"), st.booleans()), min_size=2, max_size=12), st.permutations([0, 3, 7]))
def test_of_those_that_wait_the_most_urgent_model_is_loaded_first(
    waiting: list[tuple[str, bool]], priorities: list[int]
) -> None:
    rules = Rules(RotationPolicy.ALWAYS, max_wait_s=1_000.0, max_overtaken_s=2_000.0)
    models = [Simulated(name, priority=priority) for name, priority in zip("bcd", priorities, strict=True)]
    house = House(rules, [Simulated("a", priority=99), *models])
    house.ask(Asked(0.0, "a", work_s=60.0))
    house.ask(*(Asked(1.0 + number, name, batch=batch) for number, (name, batch) in enumerate(waiting)))
    house.run()
    best = {
        name: min((batch, -house.models[name].priority) for own, batch in waiting if own == name) for name, _ in waiting
    }
    # Its batches may have to come again.
    order = [name for name in dict.fromkeys(house.started) if name != "a"]
    assert order == sorted(best, key=lambda name: best[name])


def test_the_oracle_of_sets_knows_every_part_of_a_combination() -> None:
    own = Sets((frozenset("abc"),), {})
    parts = chain.from_iterable(combinations("ab", size) for size in range(3))
    assert all(own.may_start("c", frozenset(part)) for part in parts)
    assert not own.may_start("d", frozenset("a")) and own.may_start("d", frozenset())

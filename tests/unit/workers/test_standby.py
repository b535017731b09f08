"""Which spares are started and ended: the pure plan over all that decides, and its table."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as some

from roost.workers.standby import (
    LIVE,
    REFILL_AFTER_S,
    REFILL_BUSY_S,
    ROOM_PERIOD_S,
    TABLE,
    Effect,
    Event,
    Plan,
    SpareView,
    State,
    View,
    plan,
    why_absent,
)

GB = 10**9
NOW = 1000.0


def spare(engine: str = "mlx-lm", state: State = State.ABSENT, **changes: object) -> SpareView:
    value = SpareView(engine, state, wanted="a", present=None if state is State.ABSENT else "a", size_bytes=GB)
    return replace(value, **changes)  # type: ignore[arg-type]


def view(*spares: SpareView, **changes: object) -> View:
    return replace(View(spares, available_bytes=8 * GB, total_bytes=16 * GB), **changes)  # type: ignore[arg-type]


# The table.


def test_a_process_is_spawned_from_absent_alone_and_killed_whenever_it_ends() -> None:
    assert {source for (source, _), (_, effect) in TABLE.items() if effect is Effect.SPAWN} == {State.ABSENT}
    for (source, event), (target, effect) in TABLE.items():
        assert (effect is Effect.KILL) == (target is State.ENDING), (source, event)


def test_every_state_with_a_process_survives_its_exit() -> None:
    assert all((state, Event.EXITED) in TABLE for state in (*LIVE, State.ENDING))


def test_a_spare_is_taken_alive_or_not_at_all() -> None:
    assert {source for source, event in TABLE if event is Event.TAKEN} == LIVE


def test_no_state_is_a_trap() -> None:
    reaching = {State.STANDBY}
    while more := {source for (source, _), (target, _) in TABLE.items() if target in reaching} - reaching:
        reaching |= more
    assert reaching == set(State)


# The plan.


def test_a_wanted_spare_is_started() -> None:
    assert plan(view(spare()), NOW) == Plan(start=("mlx-lm",))


def test_none_is_started_with_memory_that_is_promised_to_models() -> None:
    assert plan(view(spare(), unpromised_bytes=GB - 1), NOW) == Plan(wake_at=NOW + ROOM_PERIOD_S)
    assert plan(view(spare(), unpromised_bytes=GB), NOW).start == ("mlx-lm",)


def test_all_go_when_the_guard_raises_an_alarm_or_models_may_have_less_than_was_promised() -> None:
    two = (spare(state=State.STANDBY), spare("vllm-mlx", State.IMPORTING))
    assert plan(view(*two, alarm=True), NOW) == Plan(end=("mlx-lm", "vllm-mlx"), wake_at=NOW + ROOM_PERIOD_S)
    assert plan(view(*two, unpromised_bytes=-1), NOW).end == ("mlx-lm", "vllm-mlx")
    assert plan(view(*two, unpromised_bytes=0), NOW).end == ()


def test_nothing_is_started_that_nobody_wants() -> None:
    assert plan(view(spare(wanted=None)), NOW) == Plan()
    assert plan(view(), NOW) == Plan()


def test_none_is_started_beside_a_load_and_for_a_while_after_it() -> None:
    assert plan(view(spare(), moving=True, moved_at=NOW), NOW) == Plan()
    assert plan(view(spare(), moved_at=NOW - 1), NOW) == Plan(wake_at=NOW - 1 + REFILL_AFTER_S)
    assert plan(view(spare(), moved_at=NOW - REFILL_AFTER_S), NOW).start == ("mlx-lm",)


def test_requests_keep_the_machine_for_longer_but_not_for_ever() -> None:
    def after(seconds: float, **changes: object) -> Plan:
        return plan(view(spare(), moved_at=NOW - seconds, **changes), NOW)

    assert after(REFILL_AFTER_S, busy=True) == Plan(wake_at=NOW + REFILL_AFTER_S)
    assert after(REFILL_BUSY_S - 1, busy=True) == Plan(wake_at=NOW + 1)
    assert after(REFILL_BUSY_S, busy=True).start == after(REFILL_AFTER_S).start == ("mlx-lm",)


def test_a_load_ends_no_spare() -> None:
    assert plan(view(spare(state=State.STANDBY), moving=True), NOW) == Plan()


def test_two_engines_get_theirs_one_after_the_other() -> None:
    both = spare("a"), spare("b")
    assert plan(view(*both), NOW).start == ("a",)
    assert plan(view(spare("a", State.IMPORTING), both[1]), NOW).start == ()
    assert plan(view(spare("a", State.ENDING), both[1]), NOW).start == ()
    assert plan(view(spare("a", State.STANDBY), both[1]), NOW).start == ("b",)


def test_without_room_it_is_looked_again_later() -> None:
    full = view(spare(), available_bytes=int(2.5 * GB))
    assert plan(full, NOW) == Plan(wake_at=NOW + ROOM_PERIOD_S)
    assert plan(replace(full, available_bytes=int(2.6 * GB)), NOW).start == ("mlx-lm",)


def test_a_small_spare_is_not_kept_out_by_a_large_one() -> None:
    spares = spare("large", size_bytes=9 * GB), spare("small")
    assert plan(view(*spares), NOW).start == ("small",)


def test_when_memory_is_tight_one_goes_and_none_comes() -> None:
    tight = view(spare("a", State.STANDBY), spare("b", State.STANDBY), spare("c"), available_bytes=GB // 2)
    assert plan(tight, NOW) == Plan(end=("b",), wake_at=NOW + ROOM_PERIOD_S)


def test_one_made_with_other_settings_is_replaced_and_one_turned_off_is_ended() -> None:
    for state in LIVE:
        assert plan(view(spare(state=state, present="old")), NOW).end == ("mlx-lm",)
        assert plan(view(spare(state=state, wanted=None)), NOW).end == ("mlx-lm",)
        assert plan(view(spare(state=state)), NOW) == Plan()


def test_at_the_end_all_go_and_none_comes() -> None:
    spares = spare("a", State.STANDBY), spare("b", State.IMPORTING), spare("c"), spare("d", State.BACKOFF)
    assert plan(view(*spares, closing=True), NOW) == Plan(end=("a", "b"))


def test_failures_are_forgotten_only_when_what_failed_has_changed() -> None:
    for state in (State.BACKOFF, State.FAILED):
        assert plan(view(spare(state=state)), NOW) == Plan()
        assert plan(view(spare(state=state, wanted="new")), NOW).forget == ("mlx-lm",)


def test_the_lack_of_room_is_told_with_its_numbers() -> None:
    text = why_absent(spare(), 2 * GB, 16 * GB)
    assert text is not None and "1.0 GB" in text and "2.0 GB are free" in text and "1.6 GB must stay so" in text
    assert why_absent(spare(), 8 * GB, 16 * GB) is None
    assert why_absent(spare(wanted=None), 2 * GB, 16 * GB) is None
    assert why_absent(spare(state=State.STANDBY), 2 * GB, 16 * GB) is None


digests = some.sampled_from(["a", "b", None])
spares = some.builds(
    SpareView,
    engine=some.just("engine"),
    state=some.sampled_from(State),
    wanted=digests,
    present=digests,
    size_bytes=some.integers(0, 4 * GB),
)
views = some.builds(
    lambda found, **rest: View(tuple(replace(s, engine=f"e{i}") for i, s in enumerate(found)), **rest),
    some.lists(spares, max_size=4),
    available_bytes=some.integers(0, 16 * GB),
    total_bytes=some.just(16 * GB),
    moving=some.booleans(),
    moved_at=some.one_of(some.none(), some.floats(NOW - 90, NOW)),
    busy=some.booleans(),
    closing=some.booleans(),
)


@given(views)
def test_whatever_is_the_case_the_plan_is_possible_and_spares_come_last(seen: View) -> None:
    decided = plan(seen, NOW)
    by_name = {s.engine: s for s in seen.spares}
    events = {Event.START: decided.start, Event.END: decided.end, Event.CHANGED: decided.forget}
    for event, names in events.items():
        assert all((by_name[name].state, event) in TABLE for name in names)
    if decided.start:
        (name,) = decided.start
        assert by_name[name].wanted and not seen.moving and not seen.closing
        assert seen.available_bytes - by_name[name].size_bytes >= seen.total_bytes // 10
        assert all(s.state not in (State.IMPORTING, State.ENDING) for s in seen.spares)
    # Done, and asked again, it says nothing more: no loop, and no two answers that undo each other.
    after = {**dict.fromkeys(decided.start, Event.START), **dict.fromkeys(decided.end, Event.END)}
    after |= dict.fromkeys(decided.forget, Event.CHANGED)
    moved = tuple(
        replace(
            s, state=TABLE[s.state, after[s.engine]][0], present=s.wanted if s.engine in decided.start else s.present
        )
        if s.engine in after
        else s
        for s in seen.spares
    )
    again = plan(replace(seen, spares=moved), NOW)
    assert not set(again.end) & set(decided.start) and not set(again.start) & set(decided.end)

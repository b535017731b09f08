"""The alarm: what raises it, how long that must last, and that it fails closed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.memory.tripwire import (
    ACTIONS,
    FALL_S,
    RISE_S,
    Action,
    Level,
    Observation,
    Tripwire,
    actions,
    called_for,
    step,
)

GIB = 2**30
CALM: dict[str, Any] = {"available_bytes": 8 * GIB, "floor_bytes": GIB, "reserve_bytes": GIB // 2}


def look(at_s: float, **changes: Any) -> Observation:
    return Observation(at_s, **(CALM | changes))


def after(*looks: Observation, start: Tripwire | None = None) -> Tripwire:
    alarm = start or Tripwire()
    for seen in looks:
        alarm = step(alarm, seen)
    return alarm


LOW = {"available_bytes": GIB // 4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Level.GREEN),
        ({"available_bytes": GIB + GIB // 4}, Level.YELLOW),
        ({"available_bytes": GIB - 1}, Level.ORANGE),
        (LOW, Level.RED),
        ({"some_percent": 5.1}, Level.YELLOW),
        ({"some_percent": 15.1}, Level.ORANGE),
        ({"full_percent": 5.1}, Level.RED),
        ({"some_percent": 5.0, "full_percent": 5.0}, Level.GREEN),
        ({"pressure_level": 2}, Level.YELLOW),
        ({"pressure_level": 4}, Level.RED),
        ({"swapped_out_bytes": 4096}, Level.ORANGE),
        ({"swapped_out_bytes": 4096, "has_resident": False}, Level.GREEN),
        ({"compressed_bytes": 64 * 2**20}, Level.YELLOW),
        ({"compressed_bytes": 4096}, Level.GREEN),
        ({"cgroup_events": 1}, Level.ORANGE),
        ({"over_kill_line": ("w1",)}, Level.RED),
        ({"available_bytes": None}, Level.YELLOW),
    ],
)
def test_what_calls_for_which_level(changes: dict[str, Any], expected: Level) -> None:
    assert max(called_for(look(0, **changes)), default=Level.GREEN) is expected


def test_a_level_rises_once_its_cause_has_lasted() -> None:
    assert after(look(0, **LOW), look(RISE_S - 0.1, **LOW)).level is Level.GREEN
    alarm = after(look(0, **LOW), look(RISE_S, **LOW))
    assert alarm.level is Level.RED
    assert alarm.reasons == ("256 MiB available, the floor is 1,024 MiB",)


def test_a_cause_that_went_away_begins_anew() -> None:
    assert after(look(0, **LOW), look(3), look(4, **LOW), look(8, **LOW)).level is Level.GREEN


def test_a_lower_cause_that_lasted_counts_while_a_higher_one_is_new() -> None:
    yellow = {"available_bytes": GIB + 1}
    assert after(look(0, **yellow), look(4, **LOW), look(5, **LOW)).level is Level.YELLOW
    assert after(look(0, **yellow), look(4, **LOW), look(5, **LOW), look(9, **LOW)).level is Level.RED


def test_a_level_falls_once_its_cause_has_been_gone_for_long() -> None:
    red = after(look(0, **LOW), look(5, **LOW))
    assert after(look(6), look(5 + FALL_S), start=red).level is Level.RED
    assert after(look(6), look(6 + FALL_S), start=red).level is Level.GREEN
    assert after(look(6), look(20, **LOW), look(21), look(40), start=red).level is Level.RED


def test_it_falls_to_what_still_holds() -> None:
    red = after(look(0, **LOW), look(5, **LOW))
    orange = {"available_bytes": GIB - 1}
    alarm = after(look(6, **orange), look(6 + FALL_S, **orange), start=red)
    assert (alarm.level, alarm.reasons) == (Level.ORANGE, ("1,024 MiB available, the floor is 1,024 MiB",))


def test_a_worker_beyond_its_own_limit_is_not_waited_for() -> None:
    seen = look(0, over_kill_line=("w1",))
    alarm = after(seen)
    assert alarm.level is Level.RED
    assert Action.KILL_LARGEST in actions(alarm, seen)
    assert alarm.reasons == ("w1 is beyond its limit",)


def test_a_blind_sensor_is_careful_at_once_and_never_calms_down() -> None:
    blind = {"available_bytes": None, "failure": "cannot read meminfo"}
    alarm = after(look(0, **blind))
    assert (alarm.level, alarm.reasons) == (Level.YELLOW, ("memory cannot be read: cannot read meminfo",))
    red = after(look(0, **LOW), look(5, **LOW))
    assert after(*(look(6 + second, **blind) for second in range(0, 100, 5)), start=red).level is Level.RED
    assert after(look(1, **blind), look(2), look(2 + FALL_S), start=red).level is Level.GREEN


def test_the_first_level_stops_admitting_then_answers_waiting_batches_then_drops_caches() -> None:
    assert ACTIONS[Level.YELLOW] == (Action.STOP_ADMITTING, Action.SHED_BATCH, Action.DROP_CACHES)


def test_nobody_loses_anything_for_what_is_over_or_what_nobody_saw() -> None:
    red = after(look(0, **LOW), look(5, **LOW))
    assert Action.KILL_LARGEST in actions(red, look(6, **LOW))
    assert actions(red, look(6, available_bytes=GIB + 1)) == ACTIONS[Level.YELLOW]
    assert actions(red, look(6)) == ()
    blind = look(6, available_bytes=None, failure="cannot read meminfo")
    assert actions(step(red, blind), blind) == actions(step(Tripwire(), blind), blind) == (Action.STOP_ADMITTING,)


def test_each_level_does_what_the_one_below_does_and_more() -> None:
    levels = [set(ACTIONS[level]) for level in Level]
    assert all(lower < higher for lower, higher in pairwise(levels))


LOOKS = st.lists(
    st.tuples(
        st.floats(0.1, 20),
        st.one_of(st.none(), st.integers(0, 4 * GIB)),
        st.floats(0, 30),
        st.floats(0, 10),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(LOOKS)
def test_no_level_without_a_reason_and_no_leap_without_its_time(
    looks: list[tuple[float, int | None, float, float, bool]],
) -> None:
    alarm, now = Tripwire(), 0.0
    history: list[tuple[float, Level]] = []
    for gap_s, available, some, full, killed in looks:
        now += gap_s
        seen = look(
            now,
            available_bytes=available,
            some_percent=some,
            full_percent=full,
            over_kill_line=("w",) if killed else (),
        )
        history.append((now, max(called_for(seen), default=Level.GREEN)))
        before, alarm = alarm, step(alarm, seen)
        assert (alarm.level is Level.GREEN) or alarm.reasons
        if alarm.level > before.level and not killed and available is not None:
            recent = [level for at_s, level in history if at_s > now - RISE_S]
            assert all(level >= alarm.level for level in recent)
        if alarm.level < before.level:
            assert available is not None
            calm = [level for at_s, level in history if at_s > now - FALL_S]
            assert all(level < before.level for level in calm)

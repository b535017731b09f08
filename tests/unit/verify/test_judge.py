"""From results to a verdict."""

from __future__ import annotations

import pytest

from roost.verify.judge import Judgement, first_bad, judge
from roost.verify.types import Arm, Group, Outcome, Result

OK, LEAKED, WRONG = Outcome.OK, Outcome.LEAKED, Outcome.WRONG_ARGUMENTS
COUNTS = {Group.SINGLE: 40, Group.CHOOSE: 20, Group.NO_TOOL: 30, Group.FIDELITY: 12, Group.STREAM: 88}


def some(
    group: Group, bad: int = 0, *, arm: Arm = Arm.SERVED, what: Outcome = WRONG, tier: str | None = None
) -> list[Result]:
    outcomes = [what] * bad + [OK] * (COUNTS[group] - bad)
    return [Result(group, f"{group} {n}", arm, one, tier) for n, one in enumerate(outcomes)]


def loop(name: str, bad_at: int | None = None, rounds: int = 40, what: Outcome = WRONG) -> list[Result]:
    return [
        Result(Group.LOOP, name, Arm.SERVED, what if number == bad_at else OK, None, number)
        for number in range(1, rounds + 1)
    ]


def battery(**bad: int) -> list[Result]:
    """All groups, with so many wrong answers of each."""
    groups = [one for group in COUNTS for one in some(group, bad.get(group.name.lower(), 0))]
    return [*groups, *loop("a"), *loop("b"), *loop("c")]


def test_a_model_without_a_flaw_is_fit() -> None:
    assert judge([*battery(), *some(Group.SINGLE, arm=Arm.ENGINE)]) == Judgement("fit", "marker", (), complete=True)


def test_an_engine_that_leaks_makes_it_fit_with_repair() -> None:
    leaks = some(Group.SINGLE, 40, arm=Arm.ENGINE, what=LEAKED)
    repaired = [*some(Group.SINGLE, tier="T2"), *battery()]
    assert judge([*leaks, *repaired]) == Judgement("fit-with-repair", "full", (), complete=True)


def test_markers_alone_need_no_search_for_shapes() -> None:
    leaks = some(Group.CHOOSE, 1, arm=Arm.ENGINE, what=LEAKED)
    found = judge([*leaks, *some(Group.SINGLE, tier="T1"), *battery()])
    assert (found.word, found.tools) == ("fit-with-repair", "marker")


@pytest.mark.parametrize(
    ("group", "most"), [("single", 4), ("choose", 3), ("no_tool", 3), ("fidelity", 0), ("stream", 0)]
)
def test_each_threshold_holds_to_the_last_case_and_no_further(group: str, most: int) -> None:
    assert judge(battery(**{group: most})).word == "fit"
    found = judge(battery(**{group: most + 1}))
    assert found.word == "unfit" and len(found.reasons) == 1
    assert found.reasons[0].startswith(Group[group.upper()])


def test_a_hundred_cases_must_show_it() -> None:
    ninety_two = [Result(Group.SINGLE, str(n), Arm.SERVED, WRONG if n < 8 else OK) for n in range(100)]
    rest = [one for one in battery() if one.group is not Group.SINGLE]
    assert judge([*ninety_two, *rest]).word == "unfit"
    all_right = [Result(Group.SINGLE, str(n), Arm.SERVED, OK) for n in range(100)]
    assert judge([*all_right, *rest]).word == "fit"


def test_two_of_three_loops_must_hold_for_forty_rounds() -> None:
    base = [one for one in battery() if one.group is not Group.LOOP]
    assert judge([*base, *loop("a", 7), *loop("b"), *loop("c")]).word == "fit"
    broken = judge([*base, *loop("a", 7), *loop("b", 40), *loop("c")])
    assert broken.word == "unfit" and "median loop breaks in round 40" in broken.reasons[0]


def test_the_same_call_three_times_is_a_fault_of_its_own() -> None:
    base = [one for one in battery() if one.group is not Group.LOOP]
    found = judge([*base, *loop("a", 9, what=Outcome.REPEATED), *loop("b"), *loop("c")])
    assert found.word == "unfit" and "third time" in found.reasons[0]


def test_what_was_not_run_is_no_pass() -> None:
    short = [one for one in battery() if one.group is not Group.STREAM]
    found = judge(short)
    assert (found.word, found.complete) == ("unfit", False) and "stream was not run" in found.reasons


def test_the_first_wrong_round_is_found_whatever_follows() -> None:
    rounds = [*loop("a", 5), *loop("a", 3), *loop("b")]
    assert first_bad(rounds) == {"a": 3, "b": 41}

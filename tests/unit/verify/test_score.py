"""What an answer is worth."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.verify.interval import wilson
from roost.verify.score import equal, outcome
from roost.verify.types import Answer, Call, Case, Outcome

LAMP = Call("set_lamp", {"room": "hall", "brightness": 40})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def case(*expected: Call, exact: bool = False) -> Case:
    return Case("c", (), (), expected, exact)


def said(*calls: tuple[str, Any], content: str = "", status: int = 200, fault: str = "") -> Answer:
    texts = tuple((name, value if isinstance(value, str) else json.dumps(value)) for name, value in calls)
    return Answer(status, content, calls=texts, fault=fault)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (said(("set_lamp", {"room": "hall", "brightness": 40})), Outcome.OK),
        (said(("set_lamp", {"brightness": 40.0, "room": " Hall "})), Outcome.OK),
        (said(("set_lamp", {"room": "hall", "brightness": 41})), Outcome.WRONG_ARGUMENTS),
        (said(("set_lamp", {"room": "hall", "brightness": "40"})), Outcome.WRONG_ARGUMENTS),
        (said(("set_lamp", {"room": "hall", "brightness": 40, "more": 1})), Outcome.WRONG_ARGUMENTS),
        (said(("lamp", {"room": "hall", "brightness": 40})), Outcome.WRONG_NAME),
        (said(*[("set_lamp", {"room": "hall", "brightness": 40})] * 2), Outcome.WRONG_ARGUMENTS),
        (said(("set_lamp", '{"room": "hall"')), Outcome.MALFORMED),
        (said(("set_lamp", "[1]")), Outcome.MALFORMED),
        (said(("set_lamp", "[" * 100_000)), Outcome.MALFORMED),
        (said(content='{"name": "set_lamp", "arguments": {"room": "hall"}}'), Outcome.LEAKED),
        (said(content="<tool_call>set_lamp"), Outcome.LEAKED),
        (said(content="I cannot do that."), Outcome.MISSED),
        (said(status=500), Outcome.ERROR),
        (said(("set_lamp", {"room": "hall", "brightness": 40}), fault="it ended twice"), Outcome.ERROR),
    ],
)
def test_an_answer_where_one_call_is_due(answer: Answer, found: Outcome) -> None:
    assert outcome(case(LAMP), answer) is found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (said(content="Lisbon."), Outcome.OK),
        (said(("set_lamp", {})), Outcome.INVENTED),
        (said(content='<tool_call>{"name": "set_lamp"}'), Outcome.MARKUP),
    ],
)
def test_an_answer_where_no_call_is_due(answer: Answer, found: Outcome) -> None:
    assert outcome(case(), answer) is found


def test_several_calls_count_in_any_order() -> None:
    other = Call("get_weather", {"city": "Bern"})
    both = said(("get_weather", {"city": "Bern"}), ("set_lamp", {"room": "hall", "brightness": 40}))
    assert outcome(case(LAMP, other), both) is Outcome.OK
    assert outcome(case(LAMP, LAMP), both) is Outcome.WRONG_NAME


def test_exact_cases_compare_every_byte() -> None:
    write = Call("write_file", {"content": "a \n"})
    assert outcome(case(write, exact=True), said(("write_file", {"content": "a \n"}))) is Outcome.OK
    assert outcome(case(write, exact=True), said(("write_file", {"content": "a"}))) is Outcome.WRONG_ARGUMENTS


@given(JSON)
def test_every_value_is_equal_to_itself_after_a_trip_through_json(value: Any) -> None:
    assert equal(value, json.loads(json.dumps(value)), exact=True)


@given(st.booleans(), st.sampled_from([0, 1, 0.0, 1.0, "true", None]))
def test_a_truth_value_is_no_number(truth: bool, other: Any) -> None:
    assert not equal(truth, other, exact=False) and not equal(other, truth, exact=False)


@given(st.integers(1, 200).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_interval_holds_the_share(counts: tuple[int, int]) -> None:
    passed, count = counts
    low, high = wilson(passed, count)
    assert 0 <= low <= passed / count + 1e-9 and passed / count - 1e-9 <= high <= 1


def test_the_interval_of_38_of_40_is_the_published_one() -> None:
    low, high = wilson(38, 40)
    assert (round(low, 2), round(high, 2)) == (0.83, 0.99)

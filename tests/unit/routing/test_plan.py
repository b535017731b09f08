from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.config.far import CandidateSettings
from roost.config.places import Kind, Place, parse_place
from roost.routing.plan import Against, Ask, Option, Plan, Standing, plan

FREE = Standing("m", None, 8192, frozenset({"chat", "tools"}))


def option(to: str, standing: Standing = FREE, **conditions: Any) -> Option:
    return Option(CandidateSettings(to=to, **conditions), parse_place(to), standing, frozenset({"chat"}))


def labels(planned: Plan) -> list[str]:
    return [planned.steps[number].label for number in planned.order]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("local", Place(Kind.LOCAL)),
        ("local/org/model", Place(Kind.LOCAL, "", "org/model")),
        ("basement/coding", Place(Kind.NODE, "basement", "coding")),
        ("cloud:openai/gpt-5", Place(Kind.CLOUD, "openai", "gpt-5")),
        ("cloud:router/meta/llama", Place(Kind.CLOUD, "router", "meta/llama")),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "basement", "cloud:openai", "cloud:/x", "local/", "/x", " local", "basement/"])
def test_what_is_no_place_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_place(text)


def test_the_first_candidate_goes_first_and_the_others_follow() -> None:
    assert labels(plan([option("local"), option("basement/coding")], Ask())) == ["local", "basement/coding"]


CONDITIONS: list[tuple[dict[str, Any], Ask, bool]] = [
    ({"min_prompt_tokens": 100}, Ask(prompt_tokens=99), False),
    ({"min_prompt_tokens": 100}, Ask(prompt_tokens=100), True),
    ({"max_prompt_tokens": 100}, Ask(prompt_tokens=101), False),
    ({"max_prompt_tokens": 100}, Ask(prompt_tokens=100), True),
    ({"tools": True}, Ask(tools=False), False),
    ({"tools": True}, Ask(tools=True), True),
    ({"tools": False}, Ask(tools=True), False),
    ({"images": False}, Ask(images=True), False),
    ({"on_battery": False}, Ask(on_battery=True), False),
    ({"on_battery": True}, Ask(on_battery=True), True),
    ({"verified": True}, Ask(), False),
    ({"most_waiting": 0}, Ask(), True),
    ({"between": "22:00-06:30"}, Ask(minute=21 * 60 + 59), False),
    ({"between": "22:00-06:30"}, Ask(minute=22 * 60), True),
    ({"between": "22:00-06:30"}, Ask(minute=6 * 60 + 29), True),
    ({"between": "22:00-06:30"}, Ask(minute=6 * 60 + 30), False),
    ({"between": "09:00-17:00"}, Ask(minute=12 * 60), True),
    ({"between": "09:00-17:00"}, Ask(minute=17 * 60), False),
]


@pytest.mark.parametrize(("conditions", "ask", "may"), CONDITIONS)
def test_a_condition_decides(conditions: dict[str, Any], ask: Ask, may: bool) -> None:
    planned = plan([option("local", **conditions)], ask)
    assert bool(planned.order) is may
    assert planned.steps[0].reason


def test_a_busy_candidate_with_most_waiting_is_passed_over_and_may_serve_later() -> None:
    step = plan([option("local", replace(FREE, busy=3), most_waiting=2)], Ask()).steps[0]
    assert step.against is Against.STATE


def test_a_verified_model_meets_verified() -> None:
    assert plan([option("local", replace(FREE, verified=True), verified=True)], Ask()).order == (0,)


def test_what_nobody_can_serve_there_is_told_in_its_own_words() -> None:
    planned = plan([option("basement/coding", Standing(why_not="basement is away"))], Ask())
    assert (planned.order, planned.steps[0].reason) == ((), "basement is away")


def test_a_window_that_is_too_small_is_passed_over() -> None:
    assert plan([option("local")], Ask(prompt_tokens=8193)).steps[0].against is Against.WINDOW
    assert plan([option("local")], Ask(prompt_tokens=8192)).order == (0,)


def test_images_go_to_who_can_see() -> None:
    sees = replace(FREE, capabilities=frozenset({"chat", "vision"}))
    assert labels(plan([option("local"), option("local/eyes", sees)], Ask(images=True))) == ["local/eyes"]


def test_a_model_that_cannot_serve_the_route_is_passed_over() -> None:
    assert plan([option("local", replace(FREE, capabilities=frozenset({"embedding"})))], Ask()).order == ()


def test_fallback_never_takes_the_first_whose_conditions_hold_even_while_it_is_away() -> None:
    away = Standing(why_not="away")
    options = [option("a/x", tools=True), option("b/x", away), option("c/x")]
    assert labels(plan(options, Ask(first_only=True))) == ["b/x"]


def test_a_conversation_goes_where_its_cache_is_warm_but_never_to_a_cloud_for_that() -> None:
    options = [option("local"), option("basement/coding"), option("cloud:x/y")]
    assert labels(plan(options, Ask(), "basement/coding"))[0] == "basement/coding"
    assert labels(plan(options, Ask(), "cloud:x/y"))[0] == "local"


def test_a_conversation_waits_where_its_cache_is_warm_however_many_wait_there() -> None:
    options = [option("local", replace(FREE, busy=9), most_waiting=0), option("basement/coding")]
    assert labels(plan(options, Ask(), "local")) == ["local", "basement/coding"]
    assert labels(plan(options, Ask())) == ["basement/coding"]


KINDS = st.sampled_from(["local", "local/m", "basement/m", "cloud:x/m"])
STANDINGS = st.builds(
    Standing,
    st.just("m"),
    st.sampled_from([None, "away"]),
    st.sampled_from([None, 100, 8192]),
    st.sampled_from([None, frozenset({"chat"}), frozenset({"chat", "vision"}), frozenset({"embedding"})]),
    st.booleans(),
    st.integers(0, 5),
)
OPTIONS = st.lists(st.builds(option, KINDS, STANDINGS, most_waiting=st.sampled_from([None, 0, 3])), max_size=6)
ASKS = st.builds(
    Ask,
    st.sampled_from([None, 10, 9000]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "it is private"]),
    st.booleans(),
    st.integers(0, 1439),
    st.booleans(),
)


@given(OPTIONS, ASKS, st.sampled_from([None, "local", "basement/m", "cloud:x/m"]))
def test_whatever_the_candidates_the_plan_holds_its_word(options: list[Option], ask: Ask, kept: str | None) -> None:
    planned = plan(options, ask, kept)
    assert planned == plan(options, ask, kept)
    assert len(planned.steps) == len(options)
    assert len(set(planned.order)) == len(planned.order)
    chosen = [planned.steps[number] for number in planned.order]
    if ask.private is not None:
        assert all(step.kind is not Kind.CLOUD for step in chosen)
    if ask.first_only:
        assert len(chosen) <= 1
    else:
        assert all(step.against is None for step in chosen)
        assert len(chosen) == sum(step.against is None for step in planned.steps)

from __future__ import annotations

from typing import Any

import pytest

from roost.config.settings import ClampRule, FilterSettings, Knobs
from roost.gateway.filters import BodyPolicy, filtered
from roost.gateway.splice import REMOVED


def policy(*filters: FilterSettings, **knobs: Any) -> BodyPolicy:
    return BodyPolicy.settle(filters, Knobs(**knobs))


def changes(values: dict[str, Any], *filters: FilterSettings) -> dict[str, Any]:
    return filtered(values, policy(*filters), "max_tokens", True).changes


def test_without_filters_nothing_changes() -> None:
    assert changes({"a": 1}) == {}


def test_strip_set_default_and_clamp_in_this_order() -> None:
    one = FilterSettings(
        strip=("a", "gone"),
        set={"b": 2},
        default={"a": 5, "c": 3},
        clamp={"a": ClampRule(max=4), "t": ClampRule(min=0.5), "text": ClampRule(min=1)},
    )
    assert changes({"a": 1, "c": 9, "t": 0, "text": "x"}, one) == {"a": 4, "b": 2, "t": 0.5}


def test_a_later_filter_sees_what_an_earlier_one_did() -> None:
    assert changes({"a": 1}, FilterSettings(strip=("a",)), FilterSettings(default={"a": 2})) == {"a": 2}
    assert changes({"a": 1}, FilterSettings(set={"b": 1}), FilterSettings(strip=("b", "a"))) == {
        "b": REMOVED,
        "a": REMOVED,
    }


def test_the_model_is_never_touched() -> None:
    one = FilterSettings(strip=("model",), set={"model": "x"}, default={"model": "y"})
    assert changes({"model": "m"}, one) == {}


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ({}, {"max_tokens": 8}, "max_tokens=8"),
        ({"max_tokens": 100}, {"max_tokens": 8}, "max_tokens=8"),
        ({"max_tokens": -1}, {"max_tokens": 8}, "max_tokens=8"),
        ({"max_tokens": 3}, {}, None),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 8}, "max_completion_tokens=8"),
        ({"max_tokens": 2, "n_predict": 9}, {"n_predict": 8}, "n_predict=8"),
        ({"max_tokens": None}, {"max_tokens": 8}, "max_tokens=8"),
    ],
)
def test_the_generation_cap_holds_every_spelling(
    values: dict[str, Any], expected: dict[str, Any], told: str | None
) -> None:
    result = filtered(values, policy(generation_cap=8), "max_tokens", True)
    assert (result.changes, result.capped) == (expected, told)


def test_penalties_hold_only_where_the_request_sets_none() -> None:
    light = policy(frequency_penalty=0.1, presence_penalty=0.2)
    assert filtered({"presence_penalty": 0}, light, "max_tokens", True).changes == {"frequency_penalty": 0.1}


def test_embeddings_take_filters_but_neither_cap_nor_penalty() -> None:
    some = policy(FilterSettings(set={"a": 1}), generation_cap=8, frequency_penalty=0.1)
    assert filtered({}, some, "max_tokens", False).changes == {"a": 1}

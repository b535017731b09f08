from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.gateway.document import parse_text
from roost.gateway.splice import REMOVED, apply, replace_model
from tests.unit.gateway.test_document import JSON

KEYS = st.sampled_from(["model", "a", "b", "c", 'q"\\uote', "\u00fc"])
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)
NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))


def dumps(value: object, separators: tuple[str, str]) -> str:
    return json.dumps(value, separators=separators)


@settings(max_examples=60)
@given(OBJECTS, NO_SURROGATES, st.sampled_from([(",", ":"), (" , ", " : "), (",\n\t", ":\r\n")]))
def test_replacing_the_model_leaves_every_other_byte(
    value: dict[str, Any], name: str, separators: tuple[str, str]
) -> None:
    value = {"before": 1.50, **value, "model": "asked", "after": [1e3]}
    text = dumps(value, separators)
    member = parse_text(text).members["model"]
    new = replace_model(parse_text(text), name).decode()
    assert new.startswith(text[: member.value_start])
    assert new.endswith(text[member.value_end :])
    assert json.loads(new) == value | {"model": name}


@settings(max_examples=60)
@given(OBJECTS, st.dictionaries(KEYS, JSON | st.just(REMOVED), max_size=5))
def test_any_changes_give_the_object_that_they_mean(value: dict[str, Any], changes: dict[str, Any]) -> None:
    expected = {key: item for key, item in (value | changes).items() if item is not REMOVED}
    assert json.loads(apply(parse_text(json.dumps(value)), changes)) == expected


@pytest.mark.parametrize(
    ("text", "changes", "result"),
    [
        ("{}", {"a": 1}, '{"a":1}'),
        ("{ }", {"a": 1}, '{"a":1 }'),
        ('{ "a" : 1 , "b" : 2 , "c" : 3 }', {"a": REMOVED}, '{ "b" : 2 , "c" : 3 }'),
        ('{ "a" : 1 , "b" : 2 , "c" : 3 }', {"b": REMOVED}, '{ "a" : 1 , "c" : 3 }'),
        ('{ "a" : 1 , "b" : 2 , "c" : 3 }', {"c": REMOVED, "b": REMOVED}, '{ "a" : 1 }'),
        ('{ "a" : 1 }', {"a": REMOVED}, "{  }"),
        ('{ "a" : 1 }', {"a": REMOVED, "b": 2}, '{ "b":2 }'),
        ('{"a":1e0,"b":1.00}', {"a": 2, "x": None}, '{"a":2,"b":1.00,"x":null}'),
        ('{"a":1}', {"z": REMOVED}, '{"a":1}'),
    ],
)
def test_single_changes_keep_white_space_and_literals(text: str, changes: dict[str, Any], result: str) -> None:
    assert apply(parse_text(text), changes).decode() == result


def test_a_lone_surrogate_in_a_new_value_is_escaped() -> None:
    assert apply(parse_text("{}"), {"stop": "\ud800"}) == b'{"stop":"\\ud800"}'

"""Edits of the registry's text: one value changes, every other byte stays."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.registry.document import Document
from roost.registry.jsontext import JsonError

NIX = (Path(__file__).parents[2] / "fixtures/registry-nix.json").read_text()

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=12)
FOREIGN = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in ("models", "endpoints", "roost")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def edited(text: str, *edits: tuple[str, str]) -> str:
    document = Document.of(text)
    for role, model_id in edits:
        document = document.with_string("models", role, model_id)
    return document.text


def test_a_changed_role_changes_only_its_value() -> None:
    old = '"coding": "mlx-community/Qwen3-Coder-30B-A3B-Instruct-4bit"'
    assert edited(NIX, ("coding", "x/y")) == NIX.replace(old, '"coding": "x/y"')


def test_a_new_role_takes_the_manner_of_its_neighbours() -> None:
    last = '"tool-calling": "mlx-community/Qwen3.6-35B-A3B-4bit"'
    assert edited(NIX, ("embedding", "e")) == NIX.replace(last, f'{last},\n    "embedding": "e"')


def test_the_same_value_changes_nothing() -> None:
    assert edited(NIX, ("oss", "mlx-community/gpt-oss-120b-MXFP4-Q4")) == NIX


MANNERS = [
    ("{}", '{\n  "models": {\n    "a": "b"\n  }\n}'),
    ('{"models":{}}', '{"models":{"a": "b"}}'),
    ('{"models":{"c":"d"}}', '{"models":{"c":"d","a":"b"}}'),
    ('{"x": 1}', '{"x": 1, "models": {"a": "b"}}'.replace(", ", ",", 1)),
    ('{\n\t"x": 1\n}\n', '{\n\t"x": 1,\n\t"models": {\n\t\t"a": "b"\n\t}\n}\n'),
    ('{\n    "models": {}\n}', '{\n    "models": {\n        "a": "b"\n    }\n}'),
    ('{ "models" : { "c" : "d" } }', '{ "models" : { "c" : "d", "a" : "b" } }'),
]


@pytest.mark.parametrize(("before", "after"), MANNERS)
def test_an_insertion_keeps_indentation_and_spacing(before: str, after: str) -> None:
    assert edited(before, ("a", "b")) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"models": {"a": "b"}}', '{"models": {}}'),
        ('{"models": {"a": "b", "c": "d"}}', '{"models": {"c": "d"}}'),
        ('{"models": {"c": "d",\n  "a": "b"\n}}', '{"models": {"c": "d"\n}}'),
        ('{"models": {"c": "d"}}', '{"models": {"c": "d"}}'),
        ("{}", "{}"),
    ],
)
def test_a_removed_role_takes_its_comma_along(before: str, after: str) -> None:
    assert Document.of(before).without("models", "a").text == after


def test_text_that_is_no_json_is_no_document() -> None:
    with pytest.raises(JsonError):
        Document.of("{")


@given(FOREIGN, st.dictionaries(NAMES, NAMES, max_size=4), NAMES, NAMES, st.sampled_from([None, 0, 2, "\t"]))
def test_foreign_keys_and_other_roles_survive_every_edit(
    foreign: dict[str, object], roles: dict[str, str], role: str, model_id: str, indent: int | str | None
) -> None:
    before = {**foreign, "models": roles} if roles else foreign
    document = Document.of(json.dumps(before, indent=indent))
    written = document.with_string("models", role, model_id)
    assert json.loads(written.text) == {**foreign, "models": {**roles, role: model_id}}
    assert written.value("models", role) == model_id
    removed = written.without("models", role)
    kept = {name: value for name, value in roles.items() if name != role}
    assert json.loads(removed.text) == {**foreign, "models": kept}
    assert list(json.loads(written.text)) == [*foreign, "models"]


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_the_spelling_of_a_foreign_number_survives(literal: str) -> None:
    assert literal in edited(f'{{"x": {literal}}}', ("a", "b"))

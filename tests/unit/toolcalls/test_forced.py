"""A call that must be made: the schema for the engine, and what comes of its answer."""

import jsonschema_rs
import pytest

from roost.toolcalls.forced import breaks_format, forced_calls, forced_schema
from roost.toolcalls.values import NoCall, Tools
from tests.unit.toolcalls.corpus import CALLS, DIM, LAMP, TOOLS, function, js, named

ONE = jsonschema_rs.validator_for(forced_schema(TOOLS, several=False))
SEVERAL = jsonschema_rs.validator_for(forced_schema(TOOLS, several=True))


@pytest.mark.parametrize("call", CALLS, ids=[name for name, _ in CALLS])
def test_the_schema_takes_each_call(call):
    name, arguments = call
    assert ONE.is_valid({"name": name, "arguments": arguments})
    assert SEVERAL.is_valid([{"name": name, "arguments": arguments}])


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "open_door", "arguments": {}},
        {"name": "set_lamp", "arguments": {}},
        {"name": "set_lamp", "arguments": {"room": 3}},
        {"name": "set_lamp"},
        {"name": "get_time", "arguments": {}, "more": 1},
        [],
        "set_lamp",
    ],
)
def test_the_schema_takes_nothing_else(answer):
    assert not ONE.is_valid(answer)


def test_a_reference_inside_a_tools_schema_finds_its_place():
    schema = {
        "type": "object",
        "properties": {"node": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    tools = Tools.of([{"function": {"name": "walk", "parameters": schema}}, function("stop", {})])
    validator = jsonschema_rs.validator_for(forced_schema(tools, several=False))

    assert validator.is_valid({"name": "walk", "arguments": {"node": {"next": {"next": {}}}}})
    assert not validator.is_valid({"name": "walk", "arguments": {"node": {"next": 3}}})


def test_the_answer_becomes_calls():
    assert [call.name for call in forced_calls(named(*LAMP), TOOLS)] == ["set_lamp"]
    assert len(forced_calls(f"\n{js([{'name': n, 'arguments': a} for n, a in (LAMP, DIM)])}\n", TOOLS)) == 2


@pytest.mark.parametrize("text", ["", "Sure!", named(*LAMP)[:-1], '{"name": "open_door", "arguments": {}}'])
def test_anything_else_is_no_call(text):
    with pytest.raises(NoCall):
        forced_calls(text, TOOLS)


@pytest.mark.parametrize(
    ("text", "schema", "breaks"),
    [
        ('{"a": 1}', None, False),
        ("[1]", None, True),
        ("Sure! {}", None, True),
        ('{"a": 1}', {"type": "object", "required": ["a"]}, False),
        ("{}", {"type": "object", "required": ["a"]}, True),
        ('{"a": NaN}', None, True),
        ("```json\n{}\n```", None, True),
    ],
)
def test_a_format_is_held_or_broken(text, schema, breaks):
    assert (breaks_format(text, schema) is not None) is breaks

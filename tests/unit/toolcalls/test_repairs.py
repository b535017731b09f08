"""The ladder: each step loses nothing, and says its name."""

import json

import pytest

from roost.toolcalls.detector import detector
from roost.toolcalls.sieve import find
from roost.toolcalls.values import Mode, Tools
from tests.unit.toolcalls.corpus import FULL, LAMP, TIME, function, js, qwen_coder, read

ARGUMENTS = '{"room": "hall"}'


def tagged(body):
    return f"<tool_call>{body}</tool_call>"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (tagged('{"name": "set_lamp", "arguments": {"room": "hall",},}'), ("trailing_commas",)),
        (tagged("{'name': 'set_lamp', 'arguments': {'room': 'hall'}}"), ("python_literal",)),
        (tagged("{'name': 'set_lamp', 'arguments': {\"room\": \"hall\"}}"), ("python_literal",)),
        (tagged('{"name": "set_lamp", "arguments": {"room": "hall"}'), ("missing_closers",)),
        (tagged('{"name": "set_lamp", "arguments": {"room": "hall"'), ("missing_closers",)),
        (tagged(js({"name": "set_lamp", "arguments": ARGUMENTS})), ("decoded_arguments",)),
        (tagged('{"name": "functions.set_lamp", "arguments": {"room": "hall"}}'), ("name",)),
        (tagged('{"name": "set_lamp<|channel|>commentary", "arguments": {"room": "hall"}}'), ("name",)),
        (tagged('{"name": "set_lamp", "arguments": {"room": "hall"}}').removesuffix("</tool_call>"), ("marker",)),
        (f"```json\n{js({'name': 'set_lamp', 'arguments': {'room': 'hall'}})}", ("fence",)),
        (f"```\n{js({'name': 'set_lamp', 'arguments': {'room': 'hall'}})}\n```", ("fence",)),
        ("```json\n{'name': 'set_lamp', 'arguments': {'room': 'hall',}}\n```", ("fence", "python_literal")),
        (js({"name": "set_lamp", "arguments": ARGUMENTS}), ("bare", "decoded_arguments")),
        (js({"function": {"name": "set_lamp", "arguments": {"room": "hall"}}}), ("bare",)),
        (js({"type": "function", "name": "set_lamp", "parameters": {"room": "hall"}}), ("bare",)),
    ],
)
def test_a_step_is_named(text, steps):
    found = find(text, FULL)

    assert read(found) == [LAMP]
    assert found.steps == steps


def test_line_feeds_in_a_string_are_kept():
    found = find(tagged('{"name": "save_file", "arguments": {"path": "a", "content": "x\n\ty\n"}}'), FULL)

    assert read(found) == [("save_file", {"path": "a", "content": "x\n\ty\n"})]
    assert found.steps == ("control_characters",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"3"', 3),
        ('" 3 "', 3),
        ("3", 3),
    ],
)
def test_text_becomes_a_number_where_text_is_forbidden(written, meant):
    found = find(tagged(f'{{"name": "set_lamp", "arguments": {{"room": "7", "level": {written}}}}}'), FULL)

    assert read(found) == [("set_lamp", {"room": "7", "level": meant})]


def test_nested_text_is_read_by_the_schema():
    text = tagged(js({"name": "plan-trip", "arguments": {"stops": '[{"city": "Rom"}]', "fast": "true"}}))

    assert read(find(text, FULL)) == [("plan-trip", {"stops": [{"city": "Rom"}], "fast": True})]


def test_sound_arguments_keep_their_bytes():
    arguments = '{ "room" : "h\\u00f6hle",  "level":3 }'

    assert find(tagged(f'{{"name": "set_lamp", "arguments": {arguments}}}'), FULL).calls[0].arguments == arguments


def test_a_number_is_not_rounded():
    tools = Tools.of([function("pay", {"sum": {"type": "number"}})])
    text = '<tool_call>{"name":"pay","arguments":{"sum":0.10000000000000000000001}}</tool_call>'

    assert find(text, detector(tools, Mode.FULL, None)).calls[0].arguments == '{"sum":0.10000000000000000000001}'


@pytest.mark.parametrize("arguments", ["{}", "null", '""'])
def test_a_tool_without_parameters_takes_nothing(arguments):
    assert read(find(tagged(f'{{"name": "get_time", "arguments": {arguments}}}'), FULL)) == [TIME]
    assert read(find(tagged('{"name": "get_time"}'), FULL)) == [TIME]


@pytest.mark.parametrize(
    "content",
    [
        "print('</parameter>')\n",
        "a\n</parameter>\n<parameter=other>\nb",
        "</function>",
        "x < 1 && y > 2",
        "  indented\n\n",
        "\n",
        "",
        "<tool_call>",
        "</tool_call>",
        '{"room": "hall"}',
        "123",
        "null",
        "🦇 ünï \u2028 \u0000",
    ],
)
def test_a_text_in_tags_comes_back_byte_for_byte(content):
    call = ("save_file", {"path": "a", "content": content})

    assert read(find(qwen_coder([call]), FULL)) == [call]


def kinds(schema, written):
    tools = Tools.of([function("f", {"x": schema})])
    found = find(f"<function=f>\n<parameter=x>\n{written}\n</parameter>\n</function>", detector(tools, Mode.FULL, None))
    return json.loads(found.calls[0].arguments)["x"] if found.calls else "no call"


@pytest.mark.parametrize(
    ("schema", "written", "meant"),
    [
        ({"type": "string"}, "3", "3"),
        ({"type": "integer"}, "3", 3),
        ({"type": "number"}, "3", 3),
        ({"type": "number"}, "3.5", 3.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "True", True),
        ({"type": "null"}, "None", None),
        ({"type": ["string", "integer"]}, "3", 3),
        ({"type": ["string", "integer"]}, "three", "three"),
        ({"type": ["string", "null"]}, "3", "3"),
        ({"type": ["string", "null"]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"const": 5}, "5", 5),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "array"}, "['a', True]", ["a", True]),
        ({"type": "array"}, "[1, 2] and more", "no call"),
        ({"type": "integer"}, "three", "no call"),
        ({"type": "integer"}, "3.5", "no call"),
        ({"enum": ["on", "off"]}, "On", "no call"),
        ({}, "3", 3),
        ({}, "three", "three"),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": "integer"}]}, "3", 3),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "b", "no call"),
    ],
)
def test_a_parameter_in_tags_has_the_type_of_its_schema(schema, written, meant):
    assert kinds(schema, written) == meant


def test_references_inside_a_schema_are_followed():
    schema = {
        "type": "object",
        "properties": {"level": {"$ref": "#/$defs/level"}},
        "$defs": {"level": {"type": "integer"}},
    }
    tools = Tools.of([{"type": "function", "function": {"name": "f", "parameters": schema}}])
    found = find('<tool_call>{"name":"f","arguments":{"level":"3"}}</tool_call>', detector(tools, Mode.FULL, None))

    assert read(found) == [("f", {"level": 3})]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]},
        {"properties": {"x": {"$ref": "http://127.0.0.1:1/never-fetched"}}, "required": ["x"]},
        {"properties": {"x": {"$ref": "#/nowhere"}}, "required": ["x"]},
        {"properties": {"x": {"type": "string", "pattern": "(?="}}, "required": ["x"]},
    ],
)
def test_of_a_schema_that_is_not_sound_the_names_hold(schema):
    tools = detector(Tools.of([{"type": "function", "function": {"name": "f", "parameters": schema}}]), Mode.FULL, None)

    assert read(find('<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>', tools)) == [("f", {"x": 1})]
    assert not find('<tool_call>{"name":"f","arguments":{"y":1}}</tool_call>', tools).calls
    assert not find('<tool_call>{"name":"f","arguments":{}}</tool_call>', tools).calls

"""The pure parts of the outside measure of tool calls."""

from __future__ import annotations

from typing import Any

from benchmarks.bfcl import Call, Case, calls_of, json_schema, judge, report, tool_of

FUNCTION = {
    "name": "math.hypot",
    "description": "The hypotenuse.",
    "parameters": {
        "type": "dict",
        "properties": {"x": {"type": "float"}, "pair": {"type": "tuple", "items": {"type": "HashMap"}}},
    },
}


def message(name: str, arguments: str) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def never(functions: list[dict[str, Any]], calls: list[Call], truth: Any, category: str) -> bool:
    return False


def test_types_of_the_data_become_those_of_json_schema() -> None:
    named = tool_of(FUNCTION)["function"]
    assert named["name"] == "math_hypot"
    assert named["parameters"] == {
        "type": "object",
        "properties": {"x": {"type": "number"}, "pair": {"type": "array", "items": {"type": "string"}}},
    }
    assert json_schema({"properties": {"type": {"type": "long"}}}) == {"properties": {"type": {"type": "string"}}}


def test_arguments_that_are_no_object_are_told_apart_from_no_call() -> None:
    assert calls_of(message("f", '{"x": 1}')) == [{"f": {"x": 1}}]
    assert calls_of(message("f", "[1]")) is None and calls_of(message("f", "{")) is None
    assert calls_of({"content": "no", "tool_calls": None}) == []


def test_what_went_wrong_has_a_name() -> None:
    asked, idle = Case("a", [], [FUNCTION], [{}]), Case("b", [], [FUNCTION], None)
    assert judge(asked, message("math_hypot", "{}"), lambda *_: True, "simple_python") == "ok"
    assert judge(asked, message("math_hypot", "{}"), never, "simple_python") == "wrong"
    assert judge(asked, message("math_hypot", "{"), never, "simple_python") == "malformed"
    assert judge(asked, {"content": '{"name": "math_hypot"}'}, never, "simple_python") == "leaked"
    assert judge(asked, {"content": "I cannot."}, never, "simple_python") == "missed"
    assert judge(idle, {"content": "I cannot."}, never, "irrelevance") == "ok"
    assert judge(idle, message("math_hypot", "{}"), never, "irrelevance") == "invented"
    assert judge(idle, message("math_hypot", "{"), never, "irrelevance") == "invented"


def test_a_report_names_the_interval_and_the_rest() -> None:
    said = report("served", ["ok", "ok", "wrong", "missed", "wrong"])
    assert said == "served: 2/5 right (95 %: 0.118 to 0.769); 2 wrong, 1 missed"

"""Property tests: whatever arguments a history holds and however it is written, only they change."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.gateway.document import items_at, parse_text
from roost.gateway.splice import apply
from roost.gateway.tools.history import has_calls, mended
from tests.unit.gateway.test_document import JSON

ARGUMENTS = JSON | st.text(alphabet="{}[]\",:\\ \n'aT1") | st.just('{"a": 1}') | st.just('{"a": "\ud83e')
FUNCTIONS = st.fixed_dictionaries({}, optional={"arguments": ARGUMENTS, "name": st.just("f"), "more": JSON})
CALLS = st.lists(st.fixed_dictionaries({}, optional={"id": JSON, "function": FUNCTIONS}) | JSON, max_size=3)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.just("assistant")}, optional={"content": JSON, "tool_calls": CALLS | JSON}),
    max_size=3,
)


def without_arguments(messages: list[Any]) -> list[Any]:
    """A copy in which the arguments that are looked at are all the same."""
    copy = json.loads(json.dumps(messages))
    for function in functions_in(copy):
        function["arguments"] = "…"
    return copy


def functions_in(messages: list[Any]) -> list[dict[str, Any]]:
    lists = [message.get("tool_calls") for message in messages]
    calls = [call for listed in lists if isinstance(listed, list) for call in listed if isinstance(call, dict)]
    functions = [call.get("function") for call in calls]
    return [function for function in functions if isinstance(function, dict) and "arguments" in function]


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.sampled_from([(",", ":"), (" , ", " : "), (",\n\t", ":\r\n")]), st.booleans())
def test_only_arguments_change_and_then_they_are_objects(
    messages: list[Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    value = {"before": 1.50, "messages": messages, "after": [1e3]}
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace")
    document = parse_text(text.decode())
    found = mended(document)
    told = json.loads(apply(document, {"messages": found.messages} if found else {}))
    assert without_arguments(told["messages"]) == without_arguments(document.values["messages"])
    for function in functions_in(told["messages"]):
        assert isinstance(json.loads(function["arguments"]), dict)
    if found is None:
        assert told == document.values
    else:
        assert mended(parse_text(json.dumps(told))) is None


@given(st.lists(JSON, max_size=4), st.sampled_from([(",", ":"), (" ,\n ", " : ")]))
def test_the_items_of_an_array_are_found(values: list[Any], separators: tuple[str, str]) -> None:
    text = "  " + json.dumps(values, separators=separators)
    assert [json.loads(text[start:end]) for start, end in items_at(text, 2)] == values


def test_a_member_that_stands_twice_is_left_to_the_engine() -> None:
    text = '{"messages":[{"tool_calls":[{"function":{"arguments":"{","arguments":"{"}}]}]}'
    assert mended(parse_text(text)) is None


def test_a_conversation_without_calls_is_nothing_to_look_at() -> None:
    assert not has_calls([{"role": "user"}, {"role": "assistant", "tool_calls": []}, {"tool_calls": None}])
    assert has_calls([{"role": "user"}, {"role": "assistant", "tool_calls": [{}]}])

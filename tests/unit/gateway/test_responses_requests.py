"""Bodies of /v1/responses as bodies of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from roost.errors import InvalidType, MissingParameter, Refused, RoostError
from roost.gateway.responses.requests import from_response

HI = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Köln"}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "rain"}


def body(**asked: Any) -> dict[str, Any]:
    return from_response({"model": "m", "input": "hi", **asked}, thinks=True, can_stop_thinking=True).body


def messages(*items: Any, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(input=list(items), **asked)["messages"]
    return found


def test_a_plain_question() -> None:
    asked = {"max_output_tokens": 9, "temperature": 0, "store": True, "include": ["x"], "prompt_cache_key": "k"}
    assert body(**asked) == {"model": "m", "max_tokens": 9, "temperature": 0, "messages": [HI]}


def test_a_stream_asks_for_its_usage() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}


def test_instructions_come_first_and_later_ones_go_to_the_users_turn() -> None:
    developer = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be exact."}]}
    assert messages(developer, HI, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nBe exact."},
        HI,
    ]
    assert messages(HI, developer) == [{"role": "user", "content": "hi\n\nBe exact."}]


def test_a_thought_a_text_and_calls_are_one_answer_and_results_follow() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": None}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]}
    assert messages(HI, thought, said, CALL, RESULT, HI)[1:] == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        HI,
    ]


def test_two_calls_are_of_one_answer() -> None:
    other = {**CALL, "call_id": "c2"}
    answer = messages(HI, CALL, other, RESULT, {**RESULT, "call_id": "c2"})
    assert [call["id"] for call in answer[1]["tool_calls"]] == ["c1", "c2"]
    assert [message["role"] for message in answer] == ["user", "assistant", "tool", "tool"]


def test_pictures_in_a_turn_and_in_a_result() -> None:
    url = "data:image/png;base64,aWk="
    picture = {"type": "input_image", "image_url": url}
    part = {"type": "image_url", "image_url": {"url": url}}
    asked = {"role": "user", "content": [{"type": "input_text", "text": "what?"}, picture]}
    assert messages(asked) == [{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]
    result = {**RESULT, "output": [{"type": "input_text", "text": "seen"}, picture]}
    assert messages(HI, CALL, result)[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "user", "content": [part]},
    ]


def test_functions_and_their_choice() -> None:
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    made = body(tools=[tool], tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False)
    assert made["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": False}}
    ]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert made["parallel_tool_calls"] is False
    assert body(tools=[tool], tool_choice="required")["tool_choice"] == "required"


def test_what_only_their_servers_have_is_left_out_and_named() -> None:
    tools = [
        {"type": "web_search"},
        {"type": "namespace", "name": "files", "tools": []},
        {"type": "custom", "name": "patch"},
    ]
    items = [HI, {"type": "web_search_call", "id": "w"}, {"type": "reasoning", "summary": [], "encrypted_content": "x"}]
    made = from_response(
        {"model": "m", "input": items, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": True},
        thinks=False,
        can_stop_thinking=False,
    )
    assert made.ignored == ("files", "patch", "reasoning", "web_search", "web_search_call")
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(made.body)


def test_a_format_is_asked_for() -> None:
    schema = {"type": "object"}
    given = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    assert body(text={"format": given})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert body(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in body(text={"format": {"type": "text"}, "verbosity": "low"})


def test_how_hard_it_shall_think() -> None:
    asked = {"model": "m", "input": "hi", "reasoning": {"effort": "none", "summary": "auto"}}
    assert from_response(asked, thinks=True, can_stop_thinking=True).body["reasoning_effort"] == "none"
    for thinks, can_stop in ((False, True), (True, False)):
        assert "reasoning_effort" not in from_response(asked, thinks=thinks, can_stop_thinking=can_stop).body


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"input": None}, MissingParameter, "`input` is missing"),
        ({"input": 7}, InvalidType, "string or an array of items"),
        ({"input": ["hi"]}, InvalidType, "must be an object"),
        ({"input": [{"type": 7}]}, InvalidType, "must be a string"),
        ({"input": [{"role": "tool", "content": "x"}]}, InvalidType, '"user", "assistant"'),
        ({"input": [{"role": "user", "content": 7}]}, InvalidType, "array of parts"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, InvalidType, "needs its text"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, Refused, "'input_file'"),
        ({"input": [{"type": "function_call"}]}, InvalidType, "`call_id` and its `name`"),
        ({"input": [{"type": "function_call_output"}]}, InvalidType, "needs its `call_id`"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, Refused, "nothing is stored"),
        ({"instructions": 7}, InvalidType, "must be a string"),
        ({"previous_response_id": "resp_1"}, Refused, "no response is stored here"),
        ({"background": True}, Refused, "while its client waits"),
        ({"tools": [7]}, InvalidType, "array of tools"),
        ({"tools": [{"type": "function"}]}, InvalidType, "needs its `name`"),
        ({"tools": [{"type": "function", "name": "a"}], "tool_choice": "much"}, InvalidType, "`tool_choice`"),
        ({"text": {"format": {"type": "grammar"}}}, Refused, "`text.format`"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any], error: type[RoostError], text: str) -> None:
    with pytest.raises(error, match=text):
        body(**asked)

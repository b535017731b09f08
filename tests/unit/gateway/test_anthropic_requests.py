"""Anthropic's bodies as ours."""

from __future__ import annotations

from typing import Any

import pytest

from roost.errors import InvalidType, MissingParameter, Refused, RoostError
from roost.gateway.anthropic.requests import from_messages

HI = {"role": "user", "content": "hi"}
WEATHER = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}


def body(thinks: bool = True, can_stop_thinking: bool = True, **asked: Any) -> dict[str, Any]:
    asked = {"model": "m", "max_tokens": 9, "messages": [HI], **asked}
    return from_messages(asked, thinks=thinks, can_stop_thinking=can_stop_thinking).body


def messages(*turns: dict[str, Any], system: Any = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(messages=list(turns), system=system)["messages"]
    return found


def test_a_plain_question() -> None:
    assert body(temperature=0, top_k=4, stop_sequences=["x"], metadata={"user_id": "u"}) == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 0,
        "top_k": 4,
        "messages": [HI],
        "stop": ["x"],
    }


def test_a_stream_asks_for_its_usage() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body(stream=False)


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("Be brief.", "Be brief."),
        (
            [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
            "a\n\nb",
        ),
    ],
)
def test_a_system_text_or_blocks_of_it_come_first(system: Any, said: str) -> None:
    assert messages(HI, system=system) == [{"role": "system", "content": said}, HI]


@pytest.mark.parametrize("system", [None, "", []])
def test_no_system_is_no_message(system: Any) -> None:
    assert messages(HI, system=system) == [HI]


def test_a_system_text_in_the_conversation_goes_to_the_users_turn() -> None:
    """Most templates take one only at the beginning."""
    aside = {"role": "system", "content": "Mind the gap."}
    assert messages(aside, HI, system="s") == [{"role": "system", "content": "s\n\nMind the gap."}, HI]
    assert messages({"role": "developer", "content": "d"}, HI) == [{"role": "system", "content": "d"}, HI]
    assert messages(HI, aside) == [{"role": "user", "content": "hi\n\nMind the gap."}]
    answer = {"role": "assistant", "content": "yes"}
    assert messages(HI, answer, aside)[-1] == {"role": "user", "content": "Mind the gap."}


def test_turns_of_one_role_in_a_row_are_one_message() -> None:
    answers = [
        {"role": "assistant", "content": "one"},
        {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
    ]
    assert messages(HI, HI, *answers) == [
        {"role": "user", "content": "hi\n\nhi"},
        {"role": "assistant", "content": "onetwo"},
    ]


def test_a_call_its_thought_and_its_result() -> None:
    answer = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
            {"type": "tool_use", "id": "t2", "name": "clock", "input": {}},
        ],
    }
    result = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "noon", "is_error": False},
            {"type": "text", "text": "And tomorrow?"},
        ],
    }
    said = messages(HI, answer, result)
    assert said[1] == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}},
            {"id": "t2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
        ],
    }
    assert said[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
        {"role": "tool", "tool_call_id": "t2", "content": "noon"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_a_picture_in_a_turn_and_in_a_result() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aWk="}}
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWk="}}
    asked = {"role": "user", "content": [{"type": "text", "text": "what?"}, picture]}
    assert messages(asked) == [{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "seen"}, picture]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]}
    assert messages(HI, call, {"role": "user", "content": [result]})[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
        {"role": "user", "content": [part]},
    ]


def test_a_document_is_its_text() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "all of it"}}
    assert messages({"role": "user", "content": [document]}) == [{"role": "user", "content": "all of it"}]
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}
    with pytest.raises(Refused, match="cannot read this document"):
        messages({"role": "user", "content": [pdf]})


def test_tools_and_their_choice() -> None:
    made = body(tools=[WEATHER], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    function = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}
    assert made["tools"] == [{"type": "function", "function": function}]
    assert (made["tool_choice"], made["parallel_tool_calls"]) == ("required", False)
    named = body(tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"})
    assert named["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body(tools=[WEATHER], tool_choice={"type": "none"})["tool_choice"] == "none"
    assert "tool_choice" not in body(tools=[WEATHER])


def test_what_only_their_servers_have_is_left_out_and_named() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    history = {
        "role": "assistant",
        "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}],
    }
    asked = {"model": "m", "messages": [HI, history, HI], "tools": [search, WEATHER], "mcp_servers": [{"type": "url"}]}
    asked |= {"context_management": {"edits": []}, "service_tier": "auto", "container": None}
    made = from_messages(asked, thinks=False, can_stop_thinking=False)
    assert made.ignored == ("mcp_servers", "server_tool_use", "web_search")
    assert [tool["function"]["name"] for tool in made.body["tools"]] == ["weather"]
    assert "tools" not in body(tools=[search], tool_choice={"type": "auto"})


@pytest.mark.parametrize(
    ("asked", "effort", "budget"),
    [
        ({}, None, None),
        ({"thinking": {"type": "disabled"}}, "none", None),
        ({"thinking": {"type": "adaptive"}}, None, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh", None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "medium", 2048),
        ({"output_config": {"effort": "low"}}, "low", None),
    ],
)
def test_how_hard_it_shall_think(asked: dict[str, Any], effort: str | None, budget: int | None) -> None:
    told = {"model": "m", "messages": [HI], **asked}
    made = from_messages(told, thinks=True, can_stop_thinking=True)
    assert (made.body.get("reasoning_effort"), made.thinking_budget) == (effort, budget)
    assert "reasoning_effort" not in from_messages(told, thinks=False, can_stop_thinking=True).body


def test_a_model_that_cannot_stop_thinking_is_not_told_to() -> None:
    assert "reasoning_effort" not in body(can_stop_thinking=False, thinking={"type": "disabled"})


def test_a_format_is_asked_for() -> None:
    given = {"type": "json_schema", "schema": {"type": "object"}}
    for asked in ({"output_config": {"format": given}}, {"output_format": given}):
        assert body(**asked)["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"messages": None}, MissingParameter, "`messages` is missing"),
        ({"messages": "hi"}, InvalidType, "array of messages"),
        ({"messages": ["hi"]}, InvalidType, "must be an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, InvalidType, '"user", "assistant"'),
        ({"messages": [{"role": "user", "content": 7}]}, InvalidType, "array of blocks"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, InvalidType, "array of blocks"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, InvalidType, "needs a `type`"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, InvalidType, "needs its `text`"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, InvalidType, "tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, InvalidType, "`id` and its `name`"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, Refused, "cannot read this image"),
        ({"system": 7}, InvalidType, "`system` must be"),
        ({"system": [{"type": "image"}]}, InvalidType, "`system` must be a text"),
        ({"tools": {}}, InvalidType, "array of tools"),
        ({"tools": [7]}, InvalidType, "object with a name"),
        ({"tools": [{"name": 7}]}, InvalidType, "object with a name"),
        ({"tools": [WEATHER], "tool_choice": "any"}, InvalidType, "`tool_choice.type`"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, InvalidType, "needs a `name`"),
        ({"thinking": {"type": "much"}}, InvalidType, "`thinking.type`"),
        ({"thinking": True}, InvalidType, "`thinking.type`"),
        ({"output_config": {"format": {"type": "xml"}}}, Refused, "only json_schema"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any], error: type[RoostError], text: str) -> None:
    with pytest.raises(error, match=text):
        body(**asked)

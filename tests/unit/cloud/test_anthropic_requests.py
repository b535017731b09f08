"""OpenAI chats as Anthropic takes them; the stand-in's rules are the judge of what it would refuse."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.cloud.anthropic.requests import DEFAULT_MAX_TOKENS, to_messages
from roost.errors import InvalidType, Refused
from roost.testing.cloud_rules import problem

HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": {"properties": {"city": {}}}},
}
CALL = {"id": "call.1:x", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


def sent(*messages, **more):
    body = to_messages({"model": "claude-sonnet-5", "messages": list(messages or (HELLO,)), **more}).body
    assert problem(body) is None
    return body


def test_a_plain_chat():
    assert sent() == {"model": "claude-sonnet-5", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [HELLO]}


def test_system_texts_at_the_beginning_are_the_system_and_later_ones_are_said_by_the_user():
    body = sent(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        HELLO,
        {"role": "system", "content": "Now be long."},
    )
    assert body["system"] == "Be brief.\n\nBe kind."
    assert [block["text"] for block in body["messages"][0]["content"]] == ["Hello", "Now be long."]


def test_calls_and_their_results():
    body = sent(
        HELLO,
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL, {**CALL, "id": "2"}]},
        {"role": "tool", "tool_call_id": "call.1:x", "content": "sunny"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "rain"}]},
        {"role": "user", "content": "Thanks"},
        tools=[WEATHER],
    )
    called, answered = body["messages"][1:]
    assert called["content"][0] == {
        "type": "tool_use",
        "id": "call_1_x",
        "name": "weather",
        "input": {"city": "Paris"},
    }
    assert [block["type"] for block in answered["content"]] == ["tool_result", "tool_result", "text"]
    assert answered["content"][0] == {"type": "tool_result", "tool_use_id": "call_1_x", "content": "sunny"}
    assert body["tools"] == [
        {
            "name": "weather",
            "description": "The weather.",
            "input_schema": {"type": "object", "properties": {"city": {}}},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "kept"), [("", {}), ("{bad", {"arguments": "{bad"}), ("[1]", {"arguments": "[1]"})]
)
def test_arguments_that_are_no_object_are_kept_as_they_are(arguments, kept):
    call = {**CALL, "id": "1", "function": {"name": "weather", "arguments": arguments}}
    body = sent(HELLO, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1"})
    assert body["messages"][1]["content"][0]["input"] == kept


def test_pictures_and_documents():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    far = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
    page = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}
    body = sent({"role": "user", "content": [{"type": "text", "text": "Look"}, image, far, page]})
    sources = [block["source"] for block in body["messages"][0]["content"][1:]]
    assert sources == [
        {"type": "base64", "media_type": "image/png", "data": "QUJD"},
        {"type": "url", "url": "https://a.example/x.png"},
        {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_choices_of_tools(choice, said):
    assert sent(tools=[WEATHER], tool_choice=choice)["tool_choice"] == said


def test_one_call_at_a_time():
    body = sent(tools=[WEATHER], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_numbers_and_stops():
    body = sent(max_completion_tokens=50, temperature=1.7, top_p=0.5, top_k=40, stop=["END", "\n"], seed=3, user="me")
    assert (body["max_tokens"], body["temperature"], body["top_k"], body["stop_sequences"]) == (50, 1, 40, ["END"])
    assert "top_p" not in body
    assert sent(top_p=0.5, max_tokens=7)["top_p"] == 0.5


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        ("claude-sonnet-4-5", "low", {"type": "enabled", "budget_tokens": 4096}, None),
        ("claude-sonnet-4-5-20250929", "high", {"type": "enabled", "budget_tokens": 24_000}, None),
        ("claude-3-7-sonnet-latest", "minimal", {"type": "enabled", "budget_tokens": 1024}, None),
        ("claude-haiku-4-5", "none", None, None),
        ("claude-opus-4-6", "low", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-sonnet-5-5", "xhigh", {"type": "adaptive"}, {"effort": "xhigh"}),
        ("claude-sonnet-5", "none", {"type": "disabled"}, None),
    ],
)
def test_effort_is_a_budget_of_older_models_and_a_word_to_newer_ones(model, effort, thinking, config):
    body = sent(model=model, reasoning_effort=effort, temperature=0.5)
    assert (body.get("thinking"), body.get("output_config")) == (thinking, config)
    assert ("temperature" in body) == (thinking is None or thinking["type"] == "disabled")


def test_thoughts_leave_room_for_the_answer_and_yield_to_a_demanded_call():
    assert (
        sent(model="claude-sonnet-4-5", reasoning_effort="high", max_tokens=4000)["thinking"]["budget_tokens"] == 3000
    )
    assert "thinking" not in sent(model="claude-sonnet-4-5", reasoning_effort="high", max_tokens=1000)
    assert "thinking" not in sent(reasoning_effort="high", tools=[WEATHER], tool_choice="required")


def test_an_older_model_does_not_think_behind_a_result_since_nobody_kept_its_signed_thoughts():
    turns = [HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": CALL["id"]}]
    assert "thinking" not in sent(*turns, model="claude-sonnet-4-5", reasoning_effort="high")
    assert "thinking" in sent(*turns, model="claude-sonnet-5", reasoning_effort="high")


def test_a_schema_for_the_answer():
    schema = {"type": "object", "properties": {}}
    body = sent(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "huge"},
        {"tools": [WEATHER], "tool_choice": "perhaps"},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
    ],
)
def test_what_would_be_another_answer_is_refused(more):
    with pytest.raises(Refused):
        sent(**more)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": "Hello"},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]},
        {"tools": {"a": 1}},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_what_is_no_chat_is_refused(more):
    with pytest.raises(InvalidType):
        sent(**more)


def test_streams_and_usage():
    asked = to_messages({"model": "m", "messages": [HELLO], "stream": True, "stream_options": {"include_usage": True}})
    assert (asked.body["stream"], asked.stream, asked.include_usage) == (True, True, True)
    assert not to_messages({"model": "m", "messages": [HELLO], "stream": True}).include_usage


TEXTS = st.text(max_size=20)
CONTENTS = st.one_of(
    TEXTS, st.none(), st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXTS), max_size=3)
)


@st.composite
def chats(draw):
    """Turns in any order, calls always answered, as clients send them."""
    turns = [{"role": "user", "content": "Begin"}]
    for number in range(draw(st.integers(0, 6))):
        role = draw(st.sampled_from(["user", "assistant", "system", "calls"]))
        if role != "calls":
            turns.append({"role": role, "content": draw(CONTENTS)})
            continue
        ids = [f"{draw(TEXTS)}{number}.{count}" for count in range(draw(st.integers(1, 3)))]
        calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": draw(TEXTS)}} for one in ids]
        turns.append({"role": "assistant", "content": draw(CONTENTS), "tool_calls": calls})
        turns += [{"role": "tool", "tool_call_id": one, "content": draw(CONTENTS)} for one in ids]
    return [*turns, {"role": "user", "content": "End"}]


@settings(max_examples=200, deadline=None)
@given(chats(), st.sampled_from(["claude-sonnet-4-5", "claude-sonnet-5"]), st.sampled_from([None, "low", "high"]))
def test_no_chat_that_clients_send_is_one_that_anthropic_refuses(turns, model, effort):
    body = to_messages({"model": model, "messages": turns, "reasoning_effort": effort, "temperature": 2}).body
    assert problem(body) is None
    assert json.loads(json.dumps(body)) == body
    roles = [message["role"] for message in body["messages"]]
    assert all(one != other for one, other in pairwise(roles))

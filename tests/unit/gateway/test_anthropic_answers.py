"""Our answers in Anthropic's words, whole and as events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roost.errors import (
    ConcurrencyLimit,
    ContextLengthExceeded,
    InsufficientMemory,
    InternalError,
    InvalidApiKey,
    InvalidType,
    ModelNotFound,
    RoostError,
)
from roost.gateway.anthropic.answers import error_body, usage, whole_message
from roost.gateway.anthropic.stream import EventRewriter
from roost.gateway.exchange import Exchange

USED = usage(10, 4, 2)


def answer(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-7", "choices": [choice]}


def call(name: str, arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"c{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    } | more


def test_tokens_from_the_cache_are_counted_apart() -> None:
    assert USED == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
    }
    assert usage(None, None, None)["input_tokens"] == 0


def test_a_whole_answer() -> None:
    said = whole_message(answer(content="yes", reasoning_content="hm"), "m", USED)
    assert said == {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "yes"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USED,
    }


def test_calls_are_blocks_with_objects() -> None:
    calls = [call("weather", '{"city": "Köln"}'), call("clock", "", 1)]
    said = whole_message(answer("tool_calls", content=None, tool_calls=calls), "m", USED)
    assert said["content"] == [
        {"type": "tool_use", "id": "c0", "name": "weather", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "c1", "name": "clock", "input": {}},
    ]
    assert said["stop_reason"] == "tool_use"


@pytest.mark.parametrize("arguments", ['{"city"', "[]", "7"])
def test_arguments_that_are_no_object_are_no_call(arguments: str) -> None:
    with pytest.raises(ValueError, match=r"JSON object|Expecting"):
        whole_message(answer("tool_calls", tool_calls=[call("weather", arguments)]), "m", USED)


@pytest.mark.parametrize(
    ("finish_reason", "ending"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_why_it_ended(finish_reason: str, ending: str) -> None:
    assert whole_message(answer(finish_reason, content="x"), "m", USED)["stop_reason"] == ending


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidType("x"), "invalid_request_error"),
        (InvalidApiKey("x"), "authentication_error"),
        (ModelNotFound("x"), "not_found_error"),
        (ConcurrencyLimit("x"), "rate_limit_error"),
        (InsufficientMemory("x"), "overloaded_error"),
        (InternalError("x"), "api_error"),
    ],
)
def test_errors_have_their_kinds(error: RoostError, kind: str) -> None:
    assert error_body(error, "req-1") == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req-1",
    }


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_clients_know() -> None:
    assert error_body(ContextLengthExceeded("9 of 8"))["error"]["message"] == "prompt is too long: 9 of 8"


# Streams.


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    value = {"id": "chatcmpl-7", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return b"data: %b\n\n" % json.dumps(value).encode()


def told(*events: bytes) -> list[dict[str, Any]]:
    """The events as a client reads them."""
    rewriter = EventRewriter(Exchange("req-1", "POST", "/v1/messages", "here"), "m")
    said = b"".join(map(rewriter.rewrite, events))
    assert rewriter.facts.broken is None and rewriter.facts.done_event is not None
    found = []
    for one in (said + rewriter.facts.done_event).decode().strip().split("\n\n"):
        name, data = one.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def test_a_stream_is_begun_told_in_blocks_and_ended() -> None:
    events = told(
        chunk(role="assistant"),
        chunk(reasoning_content="h"),
        chunk(reasoning_content="m"),
        chunk(content="ye"),
        chunk(content="s"),
        chunk("stop"),
        USAGE,
        DONE,
    )
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["model"] == "m" and events[0]["message"]["content"] == []
    assert [event["index"] for event in events[1:9]] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert events[2]["delta"] == {"type": "thinking_delta", "thinking": "h"}
    assert events[6]["delta"] == {"type": "text_delta", "text": "ye"}
    assert events[9]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[9]["usage"] == usage(5, 0, 2)


def test_calls_are_told_piece_by_piece() -> None:
    events = told(
        chunk(content="Let me look."),
        chunk(tool_calls=[call("weather", "")]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '"Bonn"}'}}]),
        chunk(tool_calls=[call("clock", "{}", 1)]),
        chunk("tool_calls"),
        DONE,
    )
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in starts] == ["text", "tool_use", "tool_use"]
    assert starts[1] == {"type": "tool_use", "id": "c0", "name": "weather", "input": {}}
    pieces = [event for event in events if event.get("delta", {}).get("type") == "input_json_delta"]
    assert [(event["index"], event["delta"]["partial_json"]) for event in pieces] == [
        (1, '{"city":'),
        (1, '"Bonn"}'),
        (2, "{}"),
    ]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_an_empty_answer_has_no_blocks() -> None:
    assert [event["type"] for event in told(chunk("stop"), DONE)] == ["message_start", "message_delta", "message_stop"]


def test_a_comment_of_the_engines_passes() -> None:
    rewriter = EventRewriter(Exchange("req-1", "POST", "/v1/messages", "here"), "m")
    assert rewriter.rewrite(b": keepalive\n\n") == b": keepalive\n\n"


def test_a_call_that_goes_on_after_its_end_breaks_the_stream() -> None:
    """Its block is closed: a client would put the piece into another call."""
    rewriter = EventRewriter(Exchange("req-1", "POST", "/v1/messages", "here"), "m")
    for one in (call("a", "{"), call("b", "{}", 1), {"index": 0, "function": {"arguments": "}"}}):
        rewriter.rewrite(chunk(tool_calls=[one]))
    assert rewriter.facts.broken == "the engine went on with a tool call that had ended"

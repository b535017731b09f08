from __future__ import annotations

import json
from typing import Any

import pytest

from roost.errors import ModelNotFound
from roost.gateway.exchange import Exchange
from roost.gateway.ollama.answers import Clock, Shape, calls_of, durations, ending, error_bytes, piece
from roost.gateway.ollama.stream import LineRewriter
from roost.testing.engine_options import Behaviour
from roost.testing.engine_reply import Reply, closing_chunks, compose, frame, opening_chunks, token_chunk


def reply(chat: bool = True, **behaviour: Any) -> Reply:
    return compose("stand-in", "digest", chat, {"messages": []}, Behaviour(**behaviour))


def lines_of(said: Reply, shape: Shape = Shape.MESSAGE) -> tuple[list[dict[str, Any]], LineRewriter]:
    """The lines of a whole stream, the closing one last."""
    rewriter = LineRewriter(Exchange("id", "POST", "/api/chat", "here"), "org/model", shape)
    tokens = [token_chunk(said, index) for index in range(len(said.tokens))]
    chunks = [*opening_chunks(said), *tokens, *closing_chunks(said, include_usage=True), "[DONE]"]
    body = b"".join(rewriter.rewrite(frame(chunk)) for chunk in chunks) + (rewriter.facts.done_event or b"")
    return [json.loads(line) for line in body.splitlines()], rewriter


def test_a_stream_becomes_lines_with_the_physical_id_and_one_end() -> None:
    lines, _ = lines_of(reply(text="one two"))
    assert {line["model"] for line in lines} == {"org/model"}
    assert [line["message"]["content"] for line in lines] == ["one", " two", ""]
    assert [line["done"] for line in lines] == [False, False, True]
    last = lines[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 0, 2)
    assert all(last[f"{name}_duration"] > 0 for name in ("total", "load", "prompt_eval", "eval"))


def test_a_prompts_stream_says_response() -> None:
    for chat in (True, False):
        lines, _ = lines_of(reply(chat, text="one two"), Shape.RESPONSE)
        assert [line["response"] for line in lines] == ["one", " two", ""]


def test_reasoning_is_thinking() -> None:
    lines, _ = lines_of(reply(text="four", reasoning="two and two"))
    assert lines[0]["message"] == {"role": "assistant", "content": "", "thinking": "two and two"}
    assert lines[1]["message"]["content"] == "four"


def test_a_tool_call_in_pieces_is_one_line_with_an_object() -> None:
    lines, _ = lines_of(reply(text="a b c", tool_call={"name": "weather", "arguments": '{"city": "Paris"}'}))
    assert len(lines) == 2
    [call] = lines[0]["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}
    assert lines[1]["done_reason"] == "stop"


@pytest.mark.parametrize("arguments", ['{"city": "Pa', "[1]", "Paris"])
def test_a_tool_call_without_an_object_breaks_the_stream(arguments: str) -> None:
    lines, rewriter = lines_of(reply(text="a", tool_call={"name": "weather", "arguments": arguments}))
    assert lines == []
    assert rewriter.facts.broken is not None and rewriter.facts.done_event is None


def test_a_tool_call_without_arguments_has_an_empty_object() -> None:
    [call] = calls_of({"tool_calls": [{"function": {"name": "now", "arguments": ""}}]})
    assert call["function"]["arguments"] == {}


def test_the_engines_own_times_win_over_the_clock() -> None:
    clock = Clock(total_s=3.0, waited_s=1.0, first_token_s=1.5)
    assert durations(clock, None) == {
        "total_duration": 3_000_000_000,
        "load_duration": 1_000_000_000,
        "prompt_eval_duration": 500_000_000,
        "eval_duration": 1_500_000_000,
    }
    told = durations(clock, {"prompt_ms": 250.0, "predicted_ms": 750.0})
    assert (told["prompt_eval_duration"], told["eval_duration"]) == (250_000_000, 750_000_000)
    assert durations(Clock(0.0), None)["eval_duration"] == 1


@pytest.mark.parametrize(("ours", "theirs"), [("length", "length"), ("tool_calls", "stop"), (None, "stop")])
def test_the_end_has_a_reason_that_clients_know(ours: str | None, theirs: str) -> None:
    last = ending(ours, None, None, Clock(1.0), None)
    assert last["done_reason"] == theirs
    assert "eval_count" not in last


def test_an_error_is_one_string() -> None:
    assert json.loads(error_bytes(ModelNotFound("cannot serve 'x'"))) == {"error": "cannot serve 'x'"}


def test_a_message_without_calls_has_no_empty_list() -> None:
    assert piece(Shape.MESSAGE, "a") == {"message": {"role": "assistant", "content": "a"}}

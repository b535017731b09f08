"""What saying a chat in other words costs: `python -m benchmarks.dialects`.

A request and a stream of a coding agent's size, translated as /v1/messages and /v1/responses are, against the same ones
as a chat: no engine, no socket, the work alone, in CPU time of this thread.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from roost.gateway.anthropic.requests import from_messages
from roost.gateway.anthropic.stream import EventRewriter
from roost.gateway.document import parse_text
from roost.gateway.exchange import Exchange
from roost.gateway.responses.answers import begun_response
from roost.gateway.responses.requests import from_response
from roost.gateway.responses.stream import ResponseRewriter, Told
from roost.gateway.splice import compose, literal
from roost.gateway.sse import StreamRewriter

#: At the median, beyond what a chat costs.
LIMIT_REQUEST_MS = 0.3
LIMIT_CHUNK_US = 20.0
_ROUNDS = 60
_TOOLS = 24
_TURNS = 20
_CHUNKS = 500
_SCHEMA = {
    "type": "object",
    "properties": {f"field_{n}": {"type": "string", "description": "What it is for. " * 4} for n in range(8)},
}
_TEXT = "The lamp in the hall is on, and nobody has touched it since noon. " * 12


def _messages() -> dict[str, Any]:
    """About 80 kB with 24 tools, as coding agents send."""
    turns: list[dict[str, Any]] = []
    for n in range(_TURNS):
        call = {"type": "tool_use", "id": f"t{n}", "name": "tool_1", "input": {"field_1": _TEXT}}
        result = {"type": "tool_result", "tool_use_id": f"t{n}", "content": [{"type": "text", "text": _TEXT}]}
        turns.append({"role": "user", "content": [{"type": "text", "text": _TEXT}] if n == 0 else [result]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": "Look."}, call]})
        if n == 0:
            turns[0]["content"] = [{"type": "text", "text": _TEXT}]
    tools = [{"name": f"tool_{n}", "description": _TEXT, "input_schema": _SCHEMA} for n in range(_TOOLS)]
    return {"model": "default", "max_tokens": 32000, "stream": True, "messages": turns, "tools": tools}


def _response() -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "input_text", "text": _TEXT}]}]
    for n in range(_TURNS):
        arguments = json.dumps({"field_1": _TEXT})
        items.append({"type": "function_call", "call_id": f"t{n}", "name": "tool_1", "arguments": arguments})
        items.append({"type": "function_call_output", "call_id": f"t{n}", "output": _TEXT})
    tools = [{"type": "function", "name": f"tool_{n}", "description": _TEXT, "parameters": _SCHEMA} for n in range(24)]
    return {"model": "default", "stream": True, "input": items, "tools": tools}


def _chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(value).encode()


def _spent_us(work: Callable[[], object]) -> float:
    before = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - before) / 1000


def _request(asked: Mapping[str, Any], translate: Callable[[Mapping[str, Any]], dict[str, Any]]) -> tuple[float, float]:
    """Microseconds of the translation, and those of reading the same request as a chat (done for either, before),
    interleaved."""
    chat = literal(translate(asked))
    spent = [
        (_spent_us(lambda: compose(translate(asked))), _spent_us(lambda: parse_text(chat))) for _ in range(_ROUNDS)
    ]
    return statistics.median(one for one, _ in spent), statistics.median(other for _, other in spent)


def _stream(new: Callable[[], StreamRewriter]) -> tuple[float, float]:
    """Microseconds a chunk, and those of the chat's own rewriter, interleaved."""
    events = [_chunk(f" word{n}") for n in range(_CHUNKS)]

    def relay(rewriter: StreamRewriter) -> None:
        for event in events:
            rewriter.rewrite(event)

    spent = [(_spent_us(lambda: relay(new())), _spent_us(lambda: relay(StreamRewriter("m")))) for _ in range(_ROUNDS)]
    return (
        statistics.median(one for one, _ in spent) / _CHUNKS,
        statistics.median(other for _, other in spent) / _CHUNKS,
    )


def main() -> int:
    kept = True
    exchange = Exchange("req-1", "POST", "/", "here")
    told = begun_response({}, "resp_1", "m")
    arms = {
        "messages": (
            _messages(),
            lambda asked: from_messages(asked, thinks=True, can_stop_thinking=True).body,
            lambda: EventRewriter(exchange, "m"),
        ),
        "responses": (
            _response(),
            lambda asked: from_response(asked, thinks=True, can_stop_thinking=True).body,
            lambda: ResponseRewriter(exchange, Told(told), "m"),
        ),
    }
    for name, (asked, translate, rewriter) in arms.items():
        size = len(literal(asked))
        request, chat = _request(asked, translate)
        chunk, plain = _stream(rewriter)
        kept &= request <= 1000 * LIMIT_REQUEST_MS and chunk - plain <= LIMIT_CHUNK_US
        print(
            f"{name:10} request of {size / 1000:.0f} kB: {request:7.0f} us beside {chat:.0f} for reading it", end="   "
        )
        print(f"chunk: {chunk:5.1f} us, as a chat {plain:4.1f}")
    print(f"limits: {LIMIT_REQUEST_MS:g} ms a request, {LIMIT_CHUNK_US:g} us a chunk: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

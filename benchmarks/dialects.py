"""What saying a chat in other words costs: `python -m benchmarks.dialects`.

A request and a stream of a coding agent's size, translated as /v1/messages and /v1/responses are, beside the same ones
as a chat: no engine, no socket, the work alone, in CPU time of this thread. Both are measured in turn, pair by pair;
what is reported are medians with the quartiles around them, and the median of the pairs' ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.gateway.anthropic.requests import Translated as Messages
from roost.gateway.anthropic.requests import from_messages
from roost.gateway.anthropic.stream import EventRewriter
from roost.gateway.document import parse_text
from roost.gateway.exchange import Exchange
from roost.gateway.responses.answers import begun_response
from roost.gateway.responses.requests import Translated as Response
from roost.gateway.responses.requests import from_response
from roost.gateway.responses.stream import ResponseRewriter, Told
from roost.gateway.splice import compose, literal
from roost.gateway.sse import StreamRewriter

#: At the median, for the translation alone.
LIMIT_REQUEST_US = 300.0
LIMIT_CHUNK_US = 20.0
_PAIRS = 200
_STREAM_PAIRS = 60
_TOOLS = 20
#: Each is a question or a result, and an answer.
_TURNS = 15
_CHUNKS = 500
_SCHEMA = {
    "type": "object",
    "properties": {f"field_{n}": {"type": "string", "description": "What it is for. " * 4} for n in range(8)},
}
_TEXT = "The lamp in the hall is on, and nobody has touched it since noon. " * 12
_SYSTEM = "You are an agent that looks after lamps. Say what you do before you do it.\n" * 136


def _messages() -> dict[str, Any]:
    """About 70 kB: a system prompt of 10 kB, 30 messages, 20 tools, as a coding agent sends."""
    turns: list[dict[str, Any]] = []
    for n in range(_TURNS):
        asked = {"type": "tool_result", "tool_use_id": f"t{n - 1}", "content": [{"type": "text", "text": _TEXT}]}
        call = {"type": "tool_use", "id": f"t{n}", "name": "tool_1", "input": {"field_1": _TEXT}}
        turns.append({"role": "user", "content": [asked if n else {"type": "text", "text": _TEXT}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": "Look."}, call]})
    tools = [{"name": f"tool_{n}", "description": _TEXT, "input_schema": _SCHEMA} for n in range(_TOOLS)]
    system = [{"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}]
    asked = {"model": "default", "max_tokens": 32000, "stream": True}
    return {**asked, "system": system, "messages": turns, "tools": tools}


def _response() -> dict[str, Any]:
    """The same conversation as items."""
    items: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "input_text", "text": _TEXT}]}]
    for n in range(_TURNS):
        arguments = json.dumps({"field_1": _TEXT})
        items.append({"type": "function_call", "call_id": f"t{n}", "name": "tool_1", "arguments": arguments})
        items.append({"type": "function_call_output", "call_id": f"t{n}", "output": _TEXT})
    tools = [
        {"type": "function", "name": f"tool_{n}", "description": _TEXT, "parameters": _SCHEMA} for n in range(_TOOLS)
    ]
    return {"model": "default", "stream": True, "instructions": _SYSTEM, "input": items, "tools": tools}


def _chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(value).encode()


def _spent_us(work: Callable[[], object]) -> float:
    before = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - before) / 1000


@dataclass(frozen=True)
class Spread:
    """Microseconds, or a ratio of them: the median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4)
        return cls(low, median, high)

    def said(self, digits: int) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class Pairs:
    """What was measured in turn: the dialect, and the same as a chat."""

    dialect: Sequence[float]
    chat: Sequence[float]

    @property
    def ratio(self) -> Spread:
        """Reading and translating, against reading alone."""
        return Spread.of([(one + other) / other for one, other in zip(self.dialect, self.chat, strict=True)])


def interleaved(pairs: int, dialect: Callable[[], object], chat: Callable[[], object], parts: int = 1) -> Pairs:
    """Microseconds a part of each, one after the other, so that what else the machine does hits both."""
    spent = [(_spent_us(dialect) / parts, _spent_us(chat) / parts) for _ in range(pairs)]
    return Pairs([one for one, _ in spent], [other for _, other in spent])


Translate = Callable[..., Messages | Response]


def _request(asked: Mapping[str, Any], translate: Translate, *, known_tools: bool) -> Pairs:
    """The translation beside reading the request, which every one of its size needs. Tools that nobody has sent yet
    are translated, others are known from the turn before."""
    document = parse_text(literal(asked))
    text = document.text_of("tools") if known_tools else None

    def translated() -> object:
        made = translate(document.values, thinks=True, can_stop_thinking=True, tools_text=text)
        return compose(made.body, made.texts)

    return interleaved(_PAIRS, translated, lambda: parse_text(document.text))


def _stream(new: Callable[[], StreamRewriter]) -> Pairs:
    """A chunk of the dialect beside one of the chat."""
    events = [_chunk(f" word{n}") for n in range(_CHUNKS)]

    def relay(rewriter: StreamRewriter) -> None:
        for event in events:
            rewriter.rewrite(event)

    return interleaved(_STREAM_PAIRS, lambda: relay(new()), lambda: relay(StreamRewriter("m")), _CHUNKS)


def main() -> int:
    kept = True
    exchange = Exchange("req-1", "POST", "/", "here")
    told = begun_response({}, "resp_1", "m")
    arms: dict[str, tuple[dict[str, Any], Translate, Callable[[], StreamRewriter]]] = {
        "messages": (_messages(), from_messages, lambda: EventRewriter(exchange, "m")),
        "responses": (_response(), from_response, lambda: ResponseRewriter(exchange, Told(told), "m")),
    }
    for name, (asked, translate, rewriter) in arms.items():
        print(f"{name}, a request of {len(literal(asked)) / 1000:.0f} kB")
        for label, known_tools in (("tools as before", True), ("tools never seen", False)):
            pairs = _request(asked, translate, known_tools=known_tools)
            request = Spread.of(pairs.dialect)
            kept &= request.median <= LIMIT_REQUEST_US or not known_tools
            print(f"  {label:18} {request.said(0):>22} us, {pairs.ratio.said(2)} times reading it")
        pairs = _stream(rewriter)
        chunk, plain = Spread.of(pairs.dialect), Spread.of(pairs.chat)
        kept &= chunk.median <= LIMIT_CHUNK_US
        print(f"  {'chunk':18} {chunk.said(1):>22} us, beside {plain.said(1)} as a chat")
    limits = f"{LIMIT_REQUEST_US:g} us a request whose tools came before, {LIMIT_CHUNK_US:g} us a chunk"
    print(f"limits: {limits}: {'kept' if kept else 'BROKEN'}; load of this machine: {os.getloadavg()[0]:.1f}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

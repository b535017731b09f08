"""A chat's stream as Anthropic's: blocks that are begun, continued and ended, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import RoostError
from roost.gateway.anthropic.answers import (
    delta_event,
    empty_message,
    error_event,
    event,
    stop_of,
    thinking_block,
    usage,
)
from roost.gateway.client_stream import ClientStream, event_stream
from roost.gateway.exchange import Exchange
from roost.gateway.job import Job
from roost.gateway.sse import StreamRewriter

_PING = event("ping").decode().rstrip("\n")


class MessageStream(ClientStream):
    """The client's end of a stream of Messages."""

    async def heartbeat_when_silent(self, heartbeat_s: float, comment: Callable[[], str], hush_s: float = 0.0) -> None:
        """The word for people as a comment, and a ping for clients that count events."""
        await super().heartbeat_when_silent(heartbeat_s, lambda: f"{comment()}\n{_PING}", hush_s)

    async def fail(self, error: RoostError) -> None:
        """The error as an event, no `message_stop`, close."""
        self.response.force_close()
        await self.write(error_event(error, self._exchange.request_id))
        await self.response.write_eof()


def message_stream(job: Job, headers: Mapping[str, str]) -> MessageStream:
    """Not begun yet: the first event sends the status."""
    exchange = job.call.exchange
    response = event_stream({**exchange.headers(), **headers})
    return MessageStream(job.call.request, exchange, response, job.settings.gateway.write_deadline_s)


@dataclass
class _Open:
    """The block that is being told."""

    kind: str
    #: Of a tool call, its place among the calls.
    call: int | None = None


class EventRewriter(StreamRewriter):
    """Reads chunks as its parent does and gives events instead."""

    def __init__(self, exchange: Exchange, model_id: str) -> None:
        super().__init__(model_id, each=self._take)
        self._exchange = exchange
        self._model = model_id
        self._events: list[bytes] = []
        self._begun = False
        self._open: _Open | None = None
        #: The place of the block that is open, or of the next one.
        self._at = 0
        self._called = False

    def rewrite(self, event_bytes: bytes) -> bytes:
        """The events of one chunk; the last ones wait in `facts.done_event` until the stream proves complete."""
        over = self.facts.over
        self._events = []
        sent = super().rewrite(event_bytes)
        if self.facts.done_event is not None and not over:
            self.facts.done_event = self._closing()
        elif sent.startswith(b":"):
            return sent  # a comment of the engine's: it shows that it lives
        return b"".join(self._events)

    def _take(self, chunk: dict[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            self._events.append(event("message_start", message=empty_message(chunk.get("id"), self._model)))
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content"):
                self._say("thinking", "thinking_delta", thought)
            if text := delta.get("content"):
                self._say("text", "text_delta", text)
            for call in delta.get("tool_calls") or ():
                self._call(call)

    def _named(self, text: str, chunk: dict[str, Any]) -> bytes:
        return b""  # nothing of a chunk goes out as it came

    def _say(self, kind: str, delta: str, piece: str) -> None:
        if self._open is None or self._open.kind != kind:
            self._begin(_Open(kind), {"type": "text", "text": ""} if kind == "text" else thinking_block(""))
        self._events.append(delta_event(self._at, delta, kind, piece))

    def _call(self, call: Mapping[str, Any]) -> None:
        place, function = int(call.get("index") or 0), call.get("function") or {}
        if self._open is None or self._open.call != place:
            if not function.get("name"):
                self.facts.broken = "the engine went on with a tool call that had ended"
                return
            self._called = True
            block = {"type": "tool_use", "id": call.get("id") or "", "name": function["name"], "input": {}}
            self._begin(_Open("tool_use", place), block)
        if arguments := function.get("arguments"):
            self._events.append(delta_event(self._at, "input_json_delta", "partial_json", arguments))

    def _begin(self, opened: _Open, block: Mapping[str, Any]) -> None:
        self._end()
        self._open = opened
        self._events.append(event("content_block_start", index=self._at, content_block=block))

    def _end(self) -> None:
        if self._open is not None:
            self._events.append(event("content_block_stop", index=self._at))
            self._open, self._at = None, self._at + 1

    def _closing(self) -> bytes:
        exchange, facts = self._exchange, self.facts
        self._end()
        exchange.count(facts.usage, facts.timings)
        used = usage(exchange.prompt_tokens, exchange.cached_tokens, exchange.completion_tokens)
        ending = {"stop_reason": stop_of(facts.finish_reason, called=self._called), "stop_sequence": None}
        last, self._events = self._events, []
        return b"".join([*last, event("message_delta", delta=ending, usage=used), event("message_stop")])

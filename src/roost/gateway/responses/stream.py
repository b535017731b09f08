"""A chat's stream as that of a response: items that are added, continued and done, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost.errors import RoostError
from roost.gateway.client_stream import ClientStream, event_stream
from roost.gateway.exchange import Exchange
from roost.gateway.job import Job
from roost.gateway.responses.answers import (
    call_item,
    delta_bytes,
    ended_response,
    event_bytes,
    failed_response,
    item_id,
    text_item,
    text_part,
    thought_item,
    thought_part,
    usage,
)
from roost.gateway.sse import StreamRewriter

_END = "\n\n"
#: By the kind of the item.
_DELTAS = {"message": "response.output_text.delta", "reasoning": "response.reasoning_text.delta"}


@dataclass
class Told:
    """What the client was told of one response; heartbeats and answers number their events together."""

    #: As it was when it began.
    response: Mapping[str, Any]
    _number: int = 0
    _begun: bool = False

    def event(self, event_name: str, **values: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event_bytes(event_name, sequence_number=number, **values)

    def delta(self, event_name: str, place: int, named: str, piece: str) -> bytes:
        """The event of one piece of a text or a thought."""
        number, self._number = self._number, self._number + 1
        return delta_bytes(event_name, number, place, named, piece, text=event_name == _DELTAS["message"])

    def begin(self) -> bytes:
        """The two events that come before all others; nothing when they were told."""
        if self._begun:
            return b""
        self._begun = True
        return self.event("response.created", response=self.response) + self._in_progress()

    def beat(self) -> bytes:
        """A sign of life: clients that wait for events hear no comments."""
        return self.begin() or self._in_progress()

    def _in_progress(self) -> bytes:
        return self.event("response.in_progress", response=self.response)


class ResponseStream(ClientStream):
    """The client's end of a streamed response."""

    told: Told

    async def heartbeat_when_silent(self, heartbeat_s: float, comment: Callable[[], str], hush_s: float = 0.0) -> None:
        """The word for people as a comment, and an event for clients that count these."""
        await super().heartbeat_when_silent(
            heartbeat_s, lambda: f"{comment()}\n{self.told.beat().decode().removesuffix(_END)}", hush_s
        )

    async def fail(self, error: RoostError) -> None:
        """The error, the response as it failed, close."""
        self.response.force_close()
        begun = self.told.begin()
        said = self.told.event("error", code=error.code, message=error.message, param=error.param)
        failed = self.told.event("response.failed", response=failed_response(self.told.response, error))
        await self.write(begun + said + failed)
        await self.response.write_eof()


def response_stream(job: Job, told: Told, headers: Mapping[str, str]) -> ResponseStream:
    """Not begun yet: the first event sends the status."""
    exchange = job.call.exchange
    response = event_stream({**exchange.headers(), **headers})
    stream = ResponseStream(job.call.request, exchange, response, job.settings.gateway.write_deadline_s)
    stream.told = told
    return stream


@dataclass
class _Open:
    """The item that is being told."""

    kind: str
    named: str
    pieces: list[str] = field(default_factory=list)
    #: Of a call: its place among the calls, its id and its name.
    call: int | None = None
    call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponseRewriter(StreamRewriter):
    """Reads chunks as its parent does and gives events instead."""

    def __init__(self, exchange: Exchange, told: Told, model_id: str) -> None:
        super().__init__(model_id, each=self._take)
        self._exchange = exchange
        self._told = told
        self._events: list[bytes] = []
        self._output: list[dict[str, Any]] = []
        self._open: _Open | None = None

    def rewrite(self, event: bytes) -> bytes:
        """The events of one chunk; the last ones wait in `facts.done_event` until the stream proves complete."""
        over = self.facts.over
        self._events = []
        sent = super().rewrite(event)
        if self.facts.done_event is not None and not over:
            self.facts.done_event = self._closing()
        elif sent.startswith(b":"):
            return sent  # a comment of the engine's: it shows that it lives
        return b"".join(self._events)

    def _take(self, chunk: dict[str, Any]) -> None:
        if begun := self._told.begin():
            self._events.append(begun)
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content"):
                self._say("reasoning", thought)
            if text := delta.get("content"):
                self._say("message", text)
            for call in delta.get("tool_calls") or ():
                self._call(call)

    def _named(self, text: str, chunk: dict[str, Any]) -> bytes:
        return b""  # nothing of a chunk goes out as it came

    def _emit(self, event_name: str, **values: Any) -> None:
        self._events.append(self._told.event(f"response.{event_name}", output_index=len(self._output), **values))

    def _item_id(self, kind: str) -> str:
        return item_id(kind, str(self._told.response["id"]), len(self._output))

    # Texts and thoughts.

    def _say(self, kind: str, piece: str) -> None:
        opened = self._open
        if opened is None or opened.kind != kind:
            opened = self._begin_text(kind)
        opened.pieces.append(piece)
        self._events.append(self._told.delta(_DELTAS[kind], len(self._output), opened.named, piece))

    def _begin_text(self, kind: str) -> _Open:
        self._end()
        opened = self._open = _Open(kind, self._item_id("msg" if kind == "message" else "rs"))
        part, item = _empty(opened)
        self._emit("output_item.added", item=item)
        self._emit("content_part.added", item_id=opened.named, content_index=0, part=part)
        return opened

    # Calls.

    def _call(self, call: Mapping[str, Any]) -> None:
        place, function = int(call.get("index") or 0), call.get("function") or {}
        if self._open is None or self._open.call != place:
            if not function.get("name"):
                self.facts.broken = "the engine went on with a tool call that had ended"
                return
            self._begin_call(place, str(call.get("id") or ""), function["name"])
        if (arguments := function.get("arguments")) and self._open is not None:
            self._open.pieces.append(arguments)
            self._emit("function_call_arguments.delta", item_id=self._open.named, delta=arguments)

    def _begin_call(self, place: int, call_id: str, name: str) -> None:
        self._end()
        opened = self._open = _Open("function_call", self._item_id("fc"), call=place, call_id=call_id, name=name)
        self._emit("output_item.added", item={**_whole(opened), "arguments": "", "status": "in_progress"})

    # Ends.

    def _end(self) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        item = _whole(opened)
        if opened.kind == "function_call":
            self._emit(
                "function_call_arguments.done", item_id=opened.named, arguments=item["arguments"], name=opened.name
            )
        else:
            self._emit_text_done(opened)
            self._emit("content_part.done", item_id=opened.named, content_index=0, part=item["content"][0])
        self._emit("output_item.done", item=item)
        self._output.append(item)

    def _emit_text_done(self, opened: _Open) -> None:
        if opened.kind == "message":
            self._emit("output_text.done", item_id=opened.named, content_index=0, text=opened.text, logprobs=[])
        else:
            self._emit("reasoning_text.done", item_id=opened.named, content_index=0, text=opened.text)

    def _closing(self) -> bytes:
        exchange, facts = self._exchange, self.facts
        self._end()
        exchange.count(facts.usage, facts.timings)
        used = usage(exchange.prompt_tokens, exchange.cached_tokens, exchange.completion_tokens)
        response = ended_response(self._told.response, self._output, facts.finish_reason, used)
        last, self._events = self._events, []
        return b"".join([*last, self._told.event(f"response.{response['status']}", response=response)])


def _whole(opened: _Open) -> dict[str, Any]:
    match opened.kind:
        case "message":
            return text_item(opened.named, opened.text)
        case "reasoning":
            return thought_item(opened.named, opened.text)
    function = {"name": opened.name, "arguments": opened.text}
    return call_item(opened.named, {"id": opened.call_id, "function": function})


def _empty(opened: _Open) -> tuple[dict[str, Any], dict[str, Any]]:
    """The part and the item before anything was said in them."""
    part = text_part("") if opened.kind == "message" else thought_part("")
    return part, {**_whole(opened), "content": [], "status": "in_progress"}

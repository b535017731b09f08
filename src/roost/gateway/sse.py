"""Server-sent events of an OpenAI stream: cut into events, named anew, and read for what ends a stream.

Pure: bytes in, bytes and facts out. Whatever the chunks of the network, the output bytes are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from roost.errors import InvalidJson, UpstreamDisconnected
from roost.gateway.splice import rename_model
from roost.gateway.stream_template import Template, template_of

#: A blank line ends an event; engines write LF, some CRLF.
_BOUNDARY = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_DATA = re.compile(rb"data:[ ]?")
#: An engine that never ends an event must not fill the memory.
_LARGEST_EVENT_BYTES = 16 * 2**20
_decode = json.JSONDecoder().decode


class EventBuffer:
    """Cuts a byte stream into whole events, boundaries included."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The events that are complete now. Raises UpstreamDisconnected for an endless one."""
        if not self._pending and len(data) > 2 and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
            return (data,)  # what mostly comes: one whole event
        return self._cut(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        buffer = self._pending + data if self._pending else data
        # A boundary is at most four bytes: what was searched before needs no second look.
        searched = max(0, len(self._pending) - 3)
        at = 0
        for end in _ends(buffer, searched):
            yield buffer[at:end]
            at = end
        self._pending = buffer[at:]
        if len(self._pending) > _LARGEST_EVENT_BYTES:
            raise UpstreamDisconnected("the engine sent an event without an end; the stream was cut")


def _ends(buffer: bytes, at: int) -> Iterator[int]:
    """Where events end. Without a carriage return the pattern means two line feeds, which `find` finds faster."""
    if b"\r" in buffer:
        yield from (match.end() for match in _BOUNDARY.finditer(buffer, at))
        return
    while (found := buffer.find(b"\n\n", at)) >= 0:
        at = found + 2
        yield at


def well_formed(choices: Any) -> bool:
    """Whether choices are objects with a number each, as everything that reads them takes for granted."""
    if not isinstance(choices, list | tuple):
        return False
    return all(isinstance(choice, dict) and isinstance(choice.get("index", 0), int) for choice in choices)


@dataclass(slots=True)
class StreamFacts:
    """What a stream has shown so far."""

    opened: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    #: The bytes of the `[DONE]` event once it came; they are passed on only for a complete stream.
    done_event: bytes | None = None
    chunks: int = 0
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    #: The engine's error object, which ends the stream.
    error: dict[str, Any] | None = None
    #: What was wrong with an event that cannot be passed on; it ends the stream too.
    broken: str | None = None

    @property
    def over(self) -> bool:
        """Nothing that follows belongs to the stream."""
        return self.done_event is not None or self.error is not None or self.broken is not None

    @property
    def complete(self) -> bool:
        """Every choice that was opened has its finish_reason, and there was one."""
        return bool(self.finished) and self.opened <= self.finished

    def read(self, chunk: dict[str, Any]) -> None:
        """Take the facts of one chunk."""
        self.chunks += 1
        if chunk.get("error"):
            self.error = chunk if isinstance(chunk["error"], dict) else {"error": {"message": str(chunk["error"])}}
            return
        choices = chunk.get("choices") or ()
        if not well_formed(choices):
            self.broken = "the engine sent an event with choices of another shape"
            return
        for choice in choices:
            index = choice.get("index", 0)
            self.opened.add(index)
            if (reason := choice.get("finish_reason")) is not None:
                self.finished.add(index)
                self.finish_reason = str(reason)
        if isinstance(usage := chunk.get("usage"), dict) and usage:
            self.usage = usage
        if isinstance(timings := chunk.get("timings"), dict) and timings:
            self.timings = timings


class StreamRewriter:
    """Gives each event the physical id as `model`, keeps the stream's facts, and shows each chunk to `each`."""

    def __init__(self, model_id: str, each: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.facts = StreamFacts()
        self._model_id = model_id
        self._each = each
        self._template: Template | None = None

    @property
    def counter(self) -> StreamFacts:
        """Counts the chunks that came."""
        return self.facts

    def rewrite(self, event: bytes) -> bytes:
        """The event as the client gets it. Empty for what ends the stream, which `facts` then tells: `[DONE]`, an
        error frame, data that is no JSON object."""
        if self.facts.over:
            return b""
        if self._template is not None and (sent := self._template.applied(event)) is not None:
            self.facts.chunks += 1
            return sent
        if event.startswith(b"data: {") and event.count(b"\n") <= 2:
            end = event.index(b"\n")
            end -= event[end - 1] == 13
            sent = self._chunk(event, 6, end)
            # Whoever wants to see each chunk gets each one decoded.
            self._template = template_of(event, sent) if self._each is None else None
            return sent
        return self._odd(event)

    def _chunk(self, event: bytes, start: int, end: int) -> bytes:
        """One data line that holds one JSON object."""
        payload = self._payload(event[start:end])
        return b"" if payload is None else b"%b%b%b" % (event[:start], payload, event[end:])

    def _payload(self, data: bytes) -> bytes | None:
        try:
            text = data.decode()
            chunk = _decode(text)
        except (ValueError, RecursionError):
            self.facts.broken = "the engine sent an event that is not JSON"
            return None
        if not isinstance(chunk, dict):
            self.facts.broken = "the engine sent an event that is not an object"
            return None
        self.facts.read(chunk)
        if self.facts.error is not None or self.facts.broken is not None:
            return None
        if self._each is not None:
            self._each(chunk)
        return self._named(text, chunk)

    def _named(self, text: str, chunk: dict[str, Any]) -> bytes | None:
        try:
            return rename_model(text, chunk, self._model_id)
        except InvalidJson:
            self.facts.broken = "the engine sent an event with a key twice"
            return None

    def _odd(self, event: bytes) -> bytes:
        """Comments, other fields, data over several lines, `[DONE]`."""
        lines = _LINE.findall(event)
        data = [(match.end(), line) for line in lines if (match := _DATA.match(line))]
        if not data:
            return event
        payload = b"\n".join(line[start:].rstrip(b"\r\n") for start, line in data)
        if payload.strip() == b"[DONE]":
            self.facts.done_event = event
            return b""
        if not payload.strip():
            return event
        named = self._payload(payload)
        if named is None:
            return b""
        renamed = iter(named.split(b"\n"))
        return b"".join(_with_data(line, next(renamed)) if _DATA.match(line) else line for line in lines)


class UncountedRewriter(StreamRewriter):
    """Keeps back the chunk that holds nothing but the usage: roost asked for it, the client did not."""

    def _named(self, text: str, chunk: dict[str, Any]) -> bytes | None:
        if not chunk.get("choices") and chunk.get("usage"):
            return b""
        return super()._named(text, chunk)

    def _chunk(self, event: bytes, start: int, end: int) -> bytes:
        said = super()._chunk(event, start, end)
        return said if said[start:].strip() else b""


def _with_data(line: bytes, data: bytes) -> bytes:
    match = _DATA.match(line)
    ending = line[len(line.rstrip(b"\r\n")) :]
    return (match.group() if match else b"") + data + ending

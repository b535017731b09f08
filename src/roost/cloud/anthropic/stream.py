"""Anthropic's stream as OpenAI's, event by event. Pure: bytes in, bytes out, whatever the chunks of the network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from roost.cloud.anthropic.answers import chat_id, error_frame, finish_reason, usage_of

DONE = b"data: [DONE]\n\n"
#: A provider that never ends an event must not fill the memory.
LARGEST_EVENT_BYTES = 16 * 2**20
_BOUNDARY = re.compile(rb"\r?\n\r?\n")
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class BrokenStream(Exception):
    """It is no stream of Messages, or ended before its end; the message says how, and never what was in it."""


class MessageEvents:
    """One stream. `over` once its last event has come: what follows does not belong to it."""

    def __init__(self, created: int, include_usage: bool) -> None:
        self.over = False
        self._created = created
        self._include_usage = include_usage
        self._pending = b""
        #: Of every chunk: what comes before its delta.
        self._head: str | None = None
        self._usage: dict[str, Any] = {}
        self._finish: str | None = None
        #: Place of a block -> its call's place among the calls.
        self._calls: dict[int, int] = {}
        #: Calls of which something was written.
        self._written: set[int] = set()

    def feed(self, data: bytes) -> bytes:
        """What is complete now. Raises BrokenStream."""
        told: list[bytes] = []
        for event in self._cut(data):
            try:
                told.extend(self._event(event))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                # What fails is told by its kind alone: the rest may be the answer's text.
                raise BrokenStream(f"an event of it cannot be read ({type(error).__name__})") from None
        return b"".join(told)

    def end(self) -> None:
        """The body has ended. Raises BrokenStream when the stream has not."""
        if not self.over:
            raise BrokenStream("it ended in the middle")

    def _cut(self, data: bytes) -> Iterator[bytes]:
        buffer, at = self._pending + data, 0
        for match in _BOUNDARY.finditer(buffer, max(0, len(self._pending) - 3)):
            yield buffer[at : match.end()]
            at = match.end()
        self._pending = buffer[at:]
        if len(self._pending) > LARGEST_EVENT_BYTES:
            raise BrokenStream("an event of it has no end")

    def _event(self, event: bytes) -> Iterator[bytes]:
        payload = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
        if self.over or not payload:
            return
        told = _decode(payload.decode())
        match told["type"]:
            case "content_block_delta":
                yield from self._delta(told["index"], told["delta"])
            case "content_block_start":
                yield from self._begin(told["index"], told["content_block"])
            case "content_block_stop":
                yield from self._stop(told["index"])
            case "message_start":
                yield self._start(told["message"])
            case "message_delta":
                self._take(told)
            case "message_stop":
                yield from self._last()
            case "error":
                self.over = True
                yield f"data: {_encode(error_frame(told))}\n\n".encode()
            # Anything else is a ping, or newer than this.

    def _start(self, message: Mapping[str, Any]) -> bytes:
        self._usage = dict(message.get("usage") or {})
        head = {
            "id": chat_id(message.get("id")),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": str(message["model"]),
        }
        self._head = _encode(head)[:-1]
        return self._chunk('{"role":"assistant","content":""}')

    def _begin(self, place: int, block: Mapping[str, Any]) -> Iterator[bytes]:
        if block["type"] != "tool_use":
            return
        call = self._calls[place] = len(self._calls)
        function = {"name": str(block["name"]), "arguments": ""}
        yield self._call({"index": call, "id": str(block["id"]), "type": "function", "function": function})
        if given := block.get("input"):
            yield self._arguments(call, json.dumps(given))

    def _delta(self, place: int, delta: Mapping[str, Any]) -> Iterator[bytes]:
        match delta["type"]:
            case "text_delta":
                yield self._chunk(f'{{"content":{_encode(_text(delta["text"]))}}}')
            case "thinking_delta":
                yield self._chunk(f'{{"reasoning_content":{_encode(_text(delta["thinking"]))}}}')
            case "input_json_delta":
                # Some server tools have one too; theirs are no calls of the client's.
                if place in self._calls and (piece := _text(delta["partial_json"])):
                    yield self._arguments(self._calls[place], piece)
            # Signatures and citations have no place in OpenAI's words.

    def _stop(self, place: int) -> Iterator[bytes]:
        call = self._calls.get(place)
        if call is not None and call not in self._written:
            yield self._arguments(call, "{}")

    def _arguments(self, call: int, piece: str) -> bytes:
        self._written.add(call)
        return self._call({"index": call, "function": {"arguments": piece}})

    def _take(self, told: Mapping[str, Any]) -> None:
        """Counts are of the whole message; those that a later event leaves out stay."""
        self._usage |= {key: value for key, value in (told.get("usage") or {}).items() if value is not None}
        if (reason := told["delta"].get("stop_reason")) is not None:
            self._finish = finish_reason(reason)

    def _last(self) -> Iterator[bytes]:
        if self._finish is None:
            raise BrokenStream("it does not say why it ended")
        yield self._chunk("{}", self._finish)
        if self._include_usage:
            yield f'data: {self._began()},"choices":[],"usage":{_encode(usage_of(self._usage))}}}\n\n'.encode()
        self.over = True
        yield DONE

    def _call(self, call: Mapping[str, Any]) -> bytes:
        return self._chunk(f'{{"tool_calls":[{_encode(call)}]}}')

    def _chunk(self, delta: str, finish: str | None = None) -> bytes:
        reason = f'"{finish}"' if finish else "null"
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
        return f'data: {self._began()},"choices":[{choice}]}}\n\n'.encode()

    def _began(self) -> str:
        if self._head is None:
            raise BrokenStream("it has no beginning")
        return self._head


def _text(value: object) -> str:
    """Lone surrogates, which JSON may hold and UTF-8 may not, are replaced."""
    if not isinstance(value, str):
        raise TypeError("a piece of it is no text")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()

"""A stream whose calls are looked for: events in, events out. What is plain leaves as the bytes that came.

An event waits only while its text may belong to a call, in its place among the others of its choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from roost.gateway.sse import well_formed
from roost.gateway.stream_template import around
from roost.gateway.tools.choice import Choice
from roost.gateway.tools.layer import Layer

_decode = json.JSONDecoder().decode
#: Of a chunk, what belongs to that chunk alone.
_OWN = frozenset({"choices", "usage", "timings", "error"})


class CallEvents:
    """The events of one stream."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._choices: dict[int, Choice] = {}
        self._frame: dict[str, Any] = {}
        #: What surrounds the text of an event that is nothing but text, of the choice that had one last.
        self._around: tuple[bytes, bytes, Choice] | None = None
        #: Chunks that came, held or not.
        self.chunks = 0

    def feed(self, event: bytes) -> list[bytes]:
        """What may go on. Raises RoostError for an answer that is not what was demanded."""
        if self._around is not None:
            before, after, choice = self._around
            inside = event[len(before) : len(event) - len(after)]
            if event.startswith(before) and event.endswith(after) and b"\\" not in inside and b'"' not in inside:
                self.chunks += 1
                return choice.text(event, inside.decode(errors="replace"))
        chunk = chunk_of(event)
        if chunk is None:
            return [event]
        self.chunks += 1
        return self._chunk(event, chunk)

    @property
    def undecided(self) -> bool:
        """Nothing was told of any choice, and none has come to its end."""
        return not any(choice.decided for choice in self._choices.values())

    def flush(self) -> list[bytes]:
        """What still waits, as it came: the stream ends before its end."""
        return [event for choice in self._choices.values() for event in choice.flush()]

    def _chunk(self, event: bytes, chunk: Mapping[str, Any]) -> list[bytes]:
        if chunk.get("error"):
            return [*self.flush(), event]
        choices = chunk.get("choices")
        if not choices or not well_formed(choices):
            return [event]
        self._frame = {key: value for key, value in chunk.items() if key not in _OWN}
        if len(choices) == 1:
            return self._one(event, chunk, choices[0])
        # A chunk of several choices goes on as one chunk for each of them.
        events: list[bytes] = []
        for one in choices:
            part = {**chunk, "choices": [one]}
            events += self._one(event_of(part), part, one)
        return events

    def _one(self, event: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any]) -> list[bytes]:
        index = given.get("index", 0)
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(self._layer, index, self._made)
        delta = given.get("delta")
        if not isinstance(delta, dict):
            return [event]
        if given.get("finish_reason") is None and delta.keys() == {"content"} and isinstance(delta["content"], str):
            self._learn(event, delta["content"], choice)
            return choice.text(event, delta["content"])
        said = choice.delta(event, delta, given)
        if given.get("finish_reason") is not None:
            said += choice.finish(event, chunk, given)
        return said

    def _learn(self, event: bytes, text: str, choice: Choice) -> None:
        """Most events of a stream differ in their text alone."""
        parts = around(event)
        self._around = (*parts, choice) if parts is not None and text.isascii() else None

    def _made(self, choice: Mapping[str, Any], more: Mapping[str, Any]) -> bytes:
        """An event of our own, with the head of the engine's."""
        return event_of({**self._frame, "choices": [choice], **more})


def chunk_of(event: bytes) -> dict[str, Any] | None:
    """The chunk that an event carries; None: it carries none, or cannot be read (which is said elsewhere)."""
    if not event.startswith(b"data:"):
        return None
    payload = b"\n".join(_payloads(event))
    try:
        chunk = _decode(payload.decode())
    except (ValueError, RecursionError):
        return None
    return chunk if isinstance(chunk, dict) else None


def _payloads(event: bytes) -> Iterator[bytes]:
    for line in event.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].removeprefix(b" ")


def event_of(chunk: Mapping[str, Any]) -> bytes:
    text = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode("utf-8", "backslashreplace")

"""One choice of a stream: its events wait in a queue until their text is known to be plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roost.gateway.tools.layer import Judge, Layer
from roost.gateway.tools.whole import engine_finish, said
from roost.toolcalls.sieve import Sieve
from roost.toolcalls.structured import CallDeltas
from roost.toolcalls.values import Finding, Tier

_THOUGHTS = ("reasoning_content", "reasoning")
#: Makes an event of a choice, and of further members of its chunk.
Maker = Callable[[Mapping[str, Any], Mapping[str, Any]], bytes]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An event, and the end of its text among all of its kind."""

    event: bytes
    text: str
    end: int
    is_thought: bool = False


class Choice:
    """Made at its first event."""

    def __init__(self, layer: Layer, index: int, make: Maker) -> None:
        self._layer = layer
        self._index = index
        self._judge: Judge = layer.judge()
        self._thoughts: Sieve | None = layer.thoughts()
        self._calls: CallDeltas | None = None
        self._queue: list[_Waiting] = []
        self._content_end = 0
        self._thought_end = 0
        #: The content is more than white space.
        self._speaks = False
        self._finished = False
        self._dropped = False
        self._make = make

    @property
    def decided(self) -> bool:
        """Something of it was told, or it has come to its end: it is too late to ask again."""
        thought = self._thoughts.released if self._thoughts is not None else self._thought_end
        return self._finished or self._calls is not None or self._judge.released > 0 or thought > 0

    def text(self, event: bytes, text: str) -> list[bytes]:
        """An event that is nothing but content."""
        if self._calls is not None:
            return [event]
        self._content_end += len(text)
        judge = self._judge
        judge.feed(text)
        if not self._queue and judge.released >= self._content_end:
            self._speaks = self._speaks or not text.isspace()
            return [event]
        if not self._speaks and text and not text.isspace():
            self._speak()
        self._queue.append(_Waiting(event, text, self._content_end))
        return self._released()

    def delta(self, event: bytes, delta: Mapping[str, Any], given: Mapping[str, Any]) -> list[bytes]:
        """An event of any other kind, but for its finish_reason."""
        finishes = given.get("finish_reason") is not None
        if delta.get("tool_calls"):
            return self._engine_calls(event, delta, given)
        thought = next((value for key in _THOUGHTS if isinstance(value := delta.get(key), str) and value), None)
        content = delta.get("content")
        if isinstance(content, str) and content:
            return self.text(self._unfinished(event, given) if finishes else event, content)
        if thought is not None and self._thoughts is not None:
            self._thought_end += len(thought)
            self._thoughts.feed(thought)
            sent = self._unfinished(event, given) if finishes else event
            self._queue.append(_Waiting(sent, thought, self._thought_end, is_thought=True))
            return self._released()
        if finishes:
            return []
        if not self._queue:
            return [event]
        self._queue.append(_Waiting(event, "", self._content_end))
        return []

    def finish(self, event: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any]) -> list[bytes]:
        """The event with the finish_reason. Raises RoostError for an answer that is not what was demanded."""
        reason = given["finish_reason"]
        self._finished = True
        if self._calls is not None:
            return self._finish_engine(event, chunk, given, self._calls)
        cut = reason == "length"
        found, from_thoughts = self._judge.finish(cut=cut), False
        if not found.calls and not self._speaks and self._thoughts is not None:
            thought = self._thoughts.finish(cut=cut)
            found, from_thoughts = (thought, True) if thought.calls else (found, False)
        self._layer.take(found)
        self._layer.spoke = self._layer.spoke or self._speaks or bool(found.calls)
        if not self._thought_end:
            self._layer.refusal = self._layer.refusal or found.refusal
        delta = given.get("delta") or {}
        bare = not any(delta.values())
        last = event if bare else self._last(chunk, given, reason)
        if not found.calls:
            return [*self.flush(), self._told(last, chunk, given, reason)]
        reason = self._layer.finish_reason(reason)
        made = self._made(found, from_thoughts)
        self._queue.clear()
        return [*made, self._last(chunk, given, reason)]

    def flush(self) -> list[bytes]:
        """All that waits, as it came."""
        events = [waiting.event for waiting in self._queue]
        self._queue.clear()
        return events

    def _speak(self) -> None:
        """Content follows: a thought has ended, and what it drafted is not called."""
        self._speaks = True
        if self._thoughts is not None:
            self._thoughts.abandon()

    def _released(self) -> list[bytes]:
        """From the front of the queue: what is plain for sure."""
        count = 0
        for waiting in self._queue:
            judge = self._thoughts if waiting.is_thought else self._judge
            if judge is not None and waiting.end > judge.released:
                break
            count += 1
        events = [waiting.event for waiting in self._queue[:count]]
        del self._queue[:count]
        return events

    def _made(self, found: Finding, from_thoughts: bool) -> list[bytes]:
        """What waited and is text, then the calls."""
        events: list[bytes] = []
        for waiting in self._queue:
            mine = waiting.is_thought == from_thoughts
            kept = len(waiting.text) if not mine else found.kept - (waiting.end - len(waiting.text))
            if kept >= len(waiting.text):
                events.append(waiting.event)
            elif kept > 0:
                key = "reasoning_content" if waiting.is_thought else "content"
                events.append(self._say({key: waiting.text[:kept]}))
        if found.reasoning:
            events.append(self._say({"reasoning_content": found.reasoning}))
        if found.content:
            events.append(self._say({"content": found.content}))
        for index, call in enumerate(self._layer.few(found.calls)):
            header = {"index": index, **said(call)}
            function = header["function"]
            header["function"] = {"name": function["name"], "arguments": ""}
            events.append(self._say({"tool_calls": [header]}))
            more = {"index": index, "function": {"arguments": function["arguments"]}}
            events.append(self._say({"tool_calls": [more]}))
        return events

    def _engine_calls(self, event: bytes, delta: Mapping[str, Any], given: Mapping[str, Any]) -> list[bytes]:
        """The engine makes its calls itself: whatever waited was text."""
        before: list[bytes] = []
        if self._calls is None:
            self._calls = self._layer.deltas()
            before = self.flush()
        pieces = delta["tool_calls"]
        kept = [piece for piece in pieces if not self._is_surplus(piece)]
        self._dropped = self._dropped or len(kept) < len(pieces)
        passed = self._calls.feed(kept)
        self._layer.check_named(name for piece in passed if (name := piece.get("function", {}).get("name")))
        if passed == pieces:
            return [*before, event if given.get("finish_reason") is None else self._unfinished(event, given)]
        rest = {key: value for key, value in delta.items() if key != "tool_calls" and value}
        said_now = {**rest, **({"tool_calls": passed} if passed else {})}
        return [*before, self._say(said_now)] if said_now else before

    def _is_surplus(self, piece: Mapping[str, Any]) -> bool:
        return self._layer.ask.parallel is False and piece.get("index", 0) > 0

    def _finish_engine(
        self, event: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any], calls: CallDeltas
    ) -> list[bytes]:
        self._layer.spoke = True
        rest = calls.finish()
        reason = engine_finish(self._layer, given["finish_reason"], calls.truncated)
        steps = list(calls.steps)
        steps += ["parallel"] if self._dropped else []
        steps += ["finish_reason"] if reason != given["finish_reason"] else []
        if steps:
            self._layer.label.repaired(Tier.ENGINE, steps)
        else:
            self._layer.label.unrepaired(calls.reason)
        delta = given.get("delta") or {}
        sound = reason == given["finish_reason"] and not any(delta.values())
        last = event if sound else self._last(chunk, given, reason)
        more = [self._say({"tool_calls": rest})] if rest else []
        return [*more, self._told(last, chunk, given, reason)]

    def _say(self, delta: Mapping[str, Any]) -> bytes:
        return self._make({"index": self._index, "delta": delta, "finish_reason": None}, {})

    def _unfinished(self, event: bytes, given: Mapping[str, Any]) -> bytes:
        """An event that says something and ends its choice too, without the end."""
        return self._make({**given, "finish_reason": None}, {})

    def _last(self, chunk: Mapping[str, Any], given: Mapping[str, Any], reason: str | None) -> bytes:
        """The end of the choice, with whatever else the engine said in that chunk."""
        choice = {"index": self._index, "delta": {}, "finish_reason": reason}
        more = {key: chunk[key] for key in ("usage", "timings") if key in chunk}
        return self._make(choice, {**more, **self._label()})

    def _told(self, last: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any], reason: str | None) -> bytes:
        """The same with the label, for who asked to be told."""
        return self._last(chunk, given, reason) if self._layer.ask.tells else last

    def _label(self) -> dict[str, Any]:
        return {"roost": {"tools": self._layer.told()}} if self._layer.ask.tells else {}

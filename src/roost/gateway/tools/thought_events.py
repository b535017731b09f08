"""A stream of a model that thinks: what its engine left among the content goes to `reasoning_content`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.gateway.sse import well_formed
from roost.gateway.tools.events import chunk_of, event_of
from roost.gateway.tools.thoughts import FIELD, OTHER_FIELD, Thoughts
from roost.toolcalls.thoughts import Part, ThoughtSplitter

_OTHER, _FIELD = f'"{OTHER_FIELD}":'.encode(), f'"{FIELD}":'.encode()
_OWN = frozenset({"choices", "usage", "timings"})


@dataclass
class _Choice:
    splitter: ThoughtSplitter
    spoke: bool = False
    thought: bool = False


class ThoughtEvents:
    """The events of one stream."""

    def __init__(self, thoughts: Thoughts) -> None:
        self._thoughts = thoughts
        self._choices: dict[int, _Choice] = {}
        self._frame: dict[str, Any] = {}
        #: There is one choice, and it has come to its answer: events need no look.
        self._settled = False
        self.chunks = 0

    def feed(self, event: bytes) -> list[bytes]:
        """What goes on."""
        if self._settled:
            self.chunks += event.startswith(b"data: {")
            return [event]
        chunk = chunk_of(event)
        if chunk is None:
            return [event]
        self.chunks += 1
        choices = chunk.get("choices")
        if chunk.get("error"):
            return [*self.flush(), event]
        if not choices or not well_formed(choices):
            return [event]
        self._frame = {key: value for key, value in chunk.items() if key not in _OWN}
        if len(choices) == 1:
            return self._one(event, chunk, choices[0])
        parts = [{**chunk, "choices": [choice]} for choice in choices]
        return [said for part in parts for said in self._one(event_of(part), part, part["choices"][0])]

    def flush(self) -> list[bytes]:
        """What still waits."""
        return [self._say(index, part) for index, choice in self._choices.items() for part in choice.splitter.finish()]

    def _one(self, event: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any]) -> list[bytes]:
        index = given.get("index", 0)
        choice = self._choices.setdefault(index, _Choice(ThoughtSplitter(inside=self._thoughts.inside)))
        delta = given.get("delta")
        if not isinstance(delta, dict):
            return [event]
        before: list[bytes] = []
        told = delta.get(FIELD) or delta.get(OTHER_FIELD)
        if told or delta.get("tool_calls"):
            choice.thought = choice.thought or bool(told)
            choice.spoke = choice.spoke or bool(delta.get("tool_calls"))
            before = [self._say(index, part) for part in choice.splitter.settle()]
            if OTHER_FIELD in delta and FIELD not in delta:
                event = event.replace(_OTHER, _FIELD, 1)
        content = delta.get("content")
        if isinstance(content, str) and content:
            return before + self._content(event, chunk, given, choice, content)
        if given.get("finish_reason") is not None:
            before += self._finish(index, choice, given["finish_reason"])
        return [*before, event]

    def _content(
        self, event: bytes, chunk: Mapping[str, Any], given: Mapping[str, Any], choice: _Choice, content: str
    ) -> list[bytes]:
        index = given.get("index", 0)
        parts = choice.splitter.feed(content)
        self._note(choice, parts)
        finish = given.get("finish_reason")
        if parts == [Part(content, False)] and finish is None:
            self._settled = len(self._choices) == 1 and choice.splitter.settled and index == 0
            return [event]
        rest = {key: value for key, value in given["delta"].items() if key != "content"}
        said = [self._say(index, part, rest) for part in parts]
        if finish is not None:
            said += self._finish(index, choice, finish)
            last = {**given, "delta": {}}
            return [*said, event_of({**chunk, "choices": [last]})]
        return said

    def _finish(self, index: int, choice: _Choice, reason: object) -> list[bytes]:
        parts = choice.splitter.finish()
        self._note(choice, parts)
        self._thoughts.judge(reason, spoke=choice.spoke, thought=choice.thought)
        return [self._say(index, part) for part in parts]

    def _note(self, choice: _Choice, parts: Sequence[Part]) -> None:
        choice.thought = choice.thought or any(part.is_thought for part in parts)
        choice.spoke = choice.spoke or any(not part.is_thought and part.text.strip() for part in parts)

    def _say(self, index: int, part: Part, more: Mapping[str, Any] | None = None) -> bytes:
        delta = {**(more or {}), FIELD if part.is_thought else "content": part.text}
        return event_of({**self._frame, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})

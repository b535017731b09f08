"""Calls in a request's history whose arguments no engine reads: mended in place, every other byte stays. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidJson
from roost.gateway.document import Document, items_at, parse_text
from roost.gateway.splice import Edit, Written, edited, literal
from roost.toolcalls.replay import replayed


@dataclass(frozen=True)
class Mended:
    """The messages in other words than the client's."""

    messages: Written
    #: What was done, for header and log; never values.
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"mended;steps={'+'.join(self.steps)}"


def has_calls(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is anything to look at."""
    return any(message.get("tool_calls") for message in messages)


def mended(document: Document) -> Mended | None:
    """None for a sound history, which keeps every byte."""
    broken = [index for index, message in enumerate(document.values["messages"]) if _is_broken(message)]
    if not broken:
        return None
    member = document.members["messages"]
    text = document.text[member.value_start : member.value_end]
    places = items_at(text)
    edits: list[Edit] = []
    steps: dict[str, None] = {}
    for index in broken:
        for edit, done in _edits(text, *places[index]):
            edits.append(edit)
            steps.update(dict.fromkeys(done))
    return Mended(Written(edited(text, edits)), tuple(steps)) if edits else None


def _is_broken(message: Mapping[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return isinstance(calls, list) and any(_is_broken_call(call) for call in calls)


def _is_broken_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    # Their text is not needed to see whether anything is to be done.
    return isinstance(function, dict) and "arguments" in function and replayed(function["arguments"], "") is not None


def _edits(text: str, start: int, end: int) -> Iterator[tuple[Edit, tuple[str, ...]]]:
    """Of the message that stands there."""
    calls = _member(text, start, end, "tool_calls")
    for place in items_at(text, calls[0]) if calls is not None else ():
        function = _member(text, *place, "function")
        arguments = _member(text, *function, "arguments") if function is not None else None
        if arguments is None:
            continue
        raw = text[slice(*arguments)]
        told = replayed(_value(raw), raw)
        if told is not None:
            yield (*arguments, literal(told.arguments)), told.steps


def _member(text: str, start: int, end: int, key: str) -> tuple[int, int] | None:
    """Where a member's value stands. None: there is no such object; one with a key twice is left to its engine."""
    try:
        member = parse_text(text[start:end]).members.get(key)
    except InvalidJson:
        return None
    return (start + member.value_start, start + member.value_end) if member is not None else None


def _value(raw: str) -> Any:
    return parse_text(f'{{"value":{raw}}}').values["value"]

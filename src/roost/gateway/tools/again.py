"""Asking a second time: the request with a word on what was wrong, and the tokens of both answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from roost.gateway.document import Document
from roost.gateway.splice import Written, literal
from roost.gateway.tools.events import chunk_of, event_of
from roost.toolcalls.values import Refusal


def with_note(document: Document, messages: Written | None, refusal: Refusal) -> Written:
    """The request's messages and one more. The bad call is not among them: models repeat what they see.

    `messages`: those that are sent instead of the document's; None: these.
    """
    member = document.members["messages"]
    text = messages.text if messages is not None else document.text[member.value_start : member.value_end]
    note = literal({"role": "user", "content": _words(refusal)})
    return Written(f"{text[:-1]}{',' if document.values['messages'] else ''}{note}]")


def _words(refusal: Refusal) -> str:
    return (
        f"Your last answer was dropped, because the tool call in it cannot be made: {refusal.detail}. "
        "Answer the conversation above again: with a corrected tool call, or without one if none is needed."
    )


def summed(first: object, second: object) -> dict[str, Any] | None:
    """The usage of two answers together, number by number; None when neither told any."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        told = first if isinstance(first, dict) else second
        return told if isinstance(told, dict) else None
    return {key: _sum(first.get(key), second.get(key)) for key in {**first, **second}}


def _sum(first: Any, second: Any) -> Any:
    if isinstance(first, dict) or isinstance(second, dict):
        return summed(first, second)
    numbers = [value for value in (first, second) if _is_number(value)]
    # What is no number is told as the later answer told it.
    return sum(numbers) if numbers else (first if second is None else second)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def with_usage(events: Iterable[bytes], other: Mapping[str, Any] | None) -> Iterator[bytes]:
    """A stream's events; where they tell their usage, that of another answer is in it."""
    for event in events:
        chunk = chunk_of(event) if other and b'"usage"' in event else None
        if chunk is not None and isinstance(chunk.get("usage"), dict):
            yield event_of({**chunk, "usage": summed(other, chunk["usage"])})
        else:
            yield event

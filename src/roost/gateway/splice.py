"""Changing single members of a JSON object: every byte that is not changed stays as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from roost.gateway.document import Document, Member, parse_text


class Removed:
    """Stands for a member that is to go."""


REMOVED: Final = Removed()


@dataclass(frozen=True)
class Written:
    """Stands for a value that is JSON text already: it goes in as it is."""

    text: str


_MODEL = re.compile(r'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
#: Characters from, up to, and what stands there instead.
Edit = tuple[int, int, str]


@lru_cache(maxsize=256)
def name_literal(name: str) -> str:
    """A model's or a member's name as JSON text: it is written into each chunk, or each request."""
    return literal(name)


def literal(value: object) -> str:
    """A value as JSON text, compact and with characters as they are (lone surrogates are escaped)."""
    if isinstance(value, Written):
        return value.text
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text if _encodable(text) else json.dumps(value, separators=(",", ":"), allow_nan=False)


def quick_literal(value: object) -> str:
    """The same for what was JSON before, where it is large or comes with each token."""
    try:
        return to_json(value).decode()
    except (PydanticSerializationError, UnicodeError):
        return literal(value)  # a lone surrogate


def compose(values: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> Document:
    """A document of values that were JSON before, as if its text had been parsed. `texts`: what some are as JSON text,
    where that is known already."""
    known = texts or {}
    pieces, at = ["{"], 1
    members: dict[str, Member] = {}
    for key, value in values.items():
        before = f"{',' if members else ''}{name_literal(key)}:"
        written = known[key] if key in known else quick_literal(value)
        start = at + len(before)
        members[key] = Member(at + (1 if members else 0), start, start + len(written))
        pieces += (before, written)
        at = start + len(written)
    return Document(f"{''.join(pieces)}}}", dict(values), members, 1, at)


def apply(document: Document, changes: Mapping[str, Any]) -> bytes:
    """The document with members set (replaced in place, else appended) or REMOVED; all other bytes are kept."""
    if not changes:
        return document.text.encode()
    removed = [key for key, value in changes.items() if value is REMOVED and key in document.members]
    edits = _replacements(document, changes)
    if removed:
        edits += _removals(document, set(removed))
    added = [f"{literal(key)}:{literal(value)}" for key, value in changes.items() if _is_new(document, key, value)]
    if added:
        edits.append(_insertion(document, added, len(document.members) > len(removed)))
    return edited(document.text, sorted(edits)).encode()


def replace_model(document: Document, name: str) -> bytes:
    """The document with the value of its top-level `model` replaced; without one it is returned as it came."""
    member = document.members.get("model")
    if member is None:
        return document.text.encode()
    text = document.text
    return f"{text[: member.value_start]}{name_literal(name)}{text[member.value_end :]}".encode()


def rename_model(text: str, values: Mapping[str, Any], name: str) -> bytes:
    """The same for an object that is decoded already: where `model` stands is mostly plain to see.

    Raises InvalidJson for a key that stands twice, when the places have to be looked for.
    """
    if "model" not in values:
        return text.encode()
    # The only unescaped `"model":` in a text is the top-level one, unless an escape could hide another spelling of it.
    if text.count('"model"') == 1 and "\\u006" not in text and (match := _MODEL.search(text)):
        start, end = match.span(1)
        return f"{text[:start]}{name_literal(name)}{text[end:]}".encode()
    return replace_model(parse_text(text), name)


def _is_new(document: Document, key: str, value: object) -> bool:
    return value is not REMOVED and key not in document.members


def _replacements(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    return [
        (member.value_start, member.value_end, literal(value))
        for key, value in changes.items()
        if value is not REMOVED and (member := document.members.get(key)) is not None
    ]


def _insertion(document: Document, added: list[str], others_stay: bool) -> Edit:
    """Added members go behind the last one, before the white space that precedes the closing brace."""
    last = max((member.value_end for member in document.members.values()), default=document.opening)
    return (last, last, ("," if others_stay else "") + ",".join(added))


def _removals(document: Document, removed: set[str]) -> list[Edit]:
    """A removed run takes the separator before it along, or the one behind it when nothing stays before it."""
    edits: list[Edit] = []
    kept: Member | None = None
    run: list[Member] = []
    for key, member in document.members.items():
        if key in removed:
            run.append(member)
            continue
        if run and kept is None:
            edits.append((run[0].key_start, member.key_start, ""))
        elif run and kept is not None:
            edits.append((kept.value_end, run[-1].value_end, ""))
        kept, run = member, []
    if run:
        edits.append((kept.value_end if kept else run[0].key_start, run[-1].value_end, ""))
    return edits


def edited(text: str, edits: list[Edit]) -> str:
    """The text with edits, which are in order."""
    pieces: list[str] = []
    at = 0
    for start, end, replacement in edits:
        pieces += (text[at:start], replacement)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""A JSON object as text with the places of its top-level members, so that single values can be replaced.

One pass of the C scanner gives values and spans alike; the text itself is never written anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from roost.errors import InvalidJson, InvalidUtf8

#: What the decoder makes; exact types, because this is asked for each value of a large body.
_CONTAINERS = frozenset({dict, list})
_SPACE = re.compile(r"[ \t\n\r]*")
_SEPARATOR = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
#: A key without escapes, its colon and the white space around.
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')


class _NotFinite(ValueError):
    """NaN or Infinity: no JSON, though Python's decoder knows them."""


def _refuse_constant(literal: str) -> NoReturn:
    raise _NotFinite(literal)


_scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


@dataclass(frozen=True, slots=True)
class Member:
    """One top-level member: its key starts at `key_start`, its value is `text[value_start:value_end]`."""

    key_start: int
    value_start: int
    value_end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed JSON object; indexes count characters of `text`, which is the body decoded and nothing else."""

    text: str
    values: dict[str, Any]
    members: dict[str, Member]
    #: Just after the opening brace, and at the closing one.
    opening: int
    closing: int

    def text_of(self, key: str) -> str | None:
        """The value of one top-level member as it came; None: there is no such member."""
        member = self.members.get(key)
        return None if member is None else self.text[member.value_start : member.value_end]


def parse_object(body: bytes, max_depth: int) -> Document:
    """The body as one JSON object.

    Raises InvalidUtf8 with the offset, InvalidJson with the position: malformed, not an object, NaN or Infinity,
    deeper than `max_depth`, a top-level key twice (engines disagree on which one counts). No text is echoed.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidUtf8(f"the body is not UTF-8: byte {error.start} cannot be decoded") from None
    document = parse_text(text)
    # Counting brackets is a cheap bound: only a body with many of them is walked.
    if text.count("[") + text.count("{") > max_depth and deeper_than(document.values, max_depth):
        raise InvalidJson(f"the body nests deeper than the {max_depth} levels that gateway.max_json_depth allows")
    return document


def parse_text(text: str) -> Document:
    """The text as one JSON object; raises InvalidJson."""
    try:
        return _parse(text)
    except RecursionError:
        raise InvalidJson("the body nests too deep to be read") from None
    except _NotFinite as error:
        raise InvalidJson(f"the body holds {error}, which is not JSON; send null or a finite number") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"the body is not JSON: {error.msg.lower()} at line {error.lineno} column {error.colno}"
        ) from (None)
    except ValueError:
        raise InvalidJson("the body holds a number with too many digits") from None


def _parse(text: str) -> Document:
    skip = _SPACE.match
    opening = _end(skip(text, 0))
    if text[opening : opening + 1] != "{":
        raise _broken(text, opening, "an object is expected")
    values: dict[str, Any] = {}
    members: dict[str, Member] = {}
    at = _end(skip(text, opening + 1))
    closed = text[at : at + 1] == "}"
    while not closed:
        key, start = _key(text, at)
        value, end = _scan(text, start)
        if key in values:
            raise _broken(text, at, "a key stands twice in the object")
        values[key] = value
        members[key] = Member(at, start, end)
        separator = _SEPARATOR.match(text, end)
        if separator is None:
            raise _broken(text, _end(skip(text, end)), "a comma or the closing brace is expected")
        closed = separator[1] == "}"
        at = separator.start(1) if closed else separator.end()
    if _end(skip(text, at + 1)) != len(text):
        raise _broken(text, at + 1, "text follows the object")
    return Document(text, values, members, opening + 1, at)


def _key(text: str, at: int) -> tuple[str, int]:
    """The key at `at` and where its value starts."""
    if (plain := _PLAIN_KEY.match(text, at)) is not None:
        return plain[1], plain.end()
    if text[at : at + 1] != '"':
        raise _broken(text, at, "a key in double quotes is expected")
    key, key_end = _scan(text, at)
    colon = _end(_SPACE.match(text, key_end))
    if text[colon : colon + 1] != ":":
        raise _broken(text, colon, "a colon is expected")
    return key, _end(_SPACE.match(text, colon + 1))


def _end(match: re.Match[str] | None) -> int:
    # The pattern matches the empty string too, so there is always a match.
    return match.end() if match else 0


def _broken(text: str, at: int, why: str) -> InvalidJson:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return InvalidJson(f"the body is not JSON: {why} at line {line} column {column}")


def items_at(text: str, start: int = 0) -> list[tuple[int, int]]:
    """Where each item of the array that begins at `start` stands. The text is known to be JSON."""
    found: list[tuple[int, int]] = []
    at = _end(_SPACE.match(text, start + 1))
    while text[at : at + 1] != "]":
        _, end = _scan(text, at)
        found.append((at, end))
        at = _end(_SPACE.match(text, end))
        at = _end(_SPACE.match(text, at + 1)) if text[at : at + 1] == "," else at
    return found


def deeper_than(value: object, limit: int) -> bool:
    """Whether arrays and objects nest deeper than `limit` levels."""
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    for _ in range(limit):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return bool(level)

"""A JSON reader that keeps where everything stands, so that an edit changes its own bytes and no others.

The standard parser drops positions, spelling of numbers, white space and all but the last of two equal keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Deeper is refused before Python's own recursion limit is near.
MAX_DEPTH = 64

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*)*"')
_SCALAR = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)(?![\w.+-])")


class JsonError(ValueError):
    """The text is not JSON from this offset on; the message says why."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


@dataclass(frozen=True)
class Member:
    """One key of an object with its value."""

    key: str
    key_start: int
    key_end: int
    value: Node


@dataclass(frozen=True)
class Node:
    """One value: its place in the text, and its members when it is an object."""

    #: object, array, string or other (a number, true, false, null).
    kind: str
    start: int
    end: int
    members: tuple[Member, ...] = ()
    #: Strings only: the decoded text.
    text: str | None = None

    def get(self, key: str) -> Node | None:
        """The value of a key; the last one when there are several, as every JSON reader takes it."""
        return next((member.value for member in reversed(self.members) if member.key == key), None)

    def duplicates(self) -> Iterator[Member]:
        """Members whose key was there before."""
        seen: set[str] = set()
        for member in self.members:
            if member.key in seen:
                yield member
            seen.add(member.key)


def parse_json(text: str) -> Node:
    """The one value of a JSON text (RFC 8259: no NaN, no comment, no trailing comma). Raises JsonError."""
    reader = _Reader(text)
    root = reader.value(0, 0)
    end = reader.space(root.end)
    if end != len(text):
        raise JsonError("the value has ended, more text follows", end)
    return root


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def space(self, offset: int) -> int:
        found = _SPACE.match(self._text, offset)
        return found.end() if found else offset

    def value(self, offset: int, depth: int) -> Node:
        start = self.space(offset)
        if depth > MAX_DEPTH:
            raise JsonError(f"nested more than {MAX_DEPTH} deep", start)
        match self._text[start : start + 1]:
            case "{":
                return self._object(start, depth)
            case "[":
                return self._array(start, depth)
            case '"':
                return self._string(start)
            case "":
                raise JsonError("a value is missing: the text ends here", start)
        if found := _SCALAR.match(self._text, start):
            return Node("other", start, found.end())
        raise JsonError("this is not a JSON value", start)

    def _object(self, start: int, depth: int) -> Node:
        members: list[Member] = []
        offset = self.space(start + 1)
        while not self._closes(offset, "}", first=not members):
            if members:
                offset = self.space(self._expect(",", offset))
            key = self._string(offset)
            value = self.value(self._expect(":", self.space(key.end)), depth + 1)
            members.append(Member(key.text or "", key.start, key.end, value))
            offset = self.space(value.end)
        return Node("object", start, offset + 1, tuple(members))

    def _array(self, start: int, depth: int) -> Node:
        offset, empty = self.space(start + 1), True
        while not self._closes(offset, "]", first=empty):
            if not empty:
                offset = self._expect(",", offset)
            offset, empty = self.space(self.value(offset, depth + 1).end), False
        return Node("array", start, offset + 1)

    def _closes(self, offset: int, closing: str, *, first: bool) -> bool:
        found = self._text[offset : offset + 1]
        if found == closing:
            return True
        if not found or (not first and found != ","):
            raise JsonError(f'"{closing}"' + ("" if first else ' or ","') + " is missing", offset)
        return False

    def _expect(self, mark: str, offset: int) -> int:
        if self._text[offset : offset + 1] != mark:
            raise JsonError(f'"{mark}" is missing', offset)
        return offset + 1

    def _string(self, start: int) -> Node:
        found = _STRING.match(self._text, start)
        if not found:
            quoted = self._text[start : start + 1] == '"'
            reason = "this string does not end, or holds a control character or a wrong escape"
            raise JsonError(reason if quoted else "a key in double quotes is missing", start)
        return Node("string", start, found.end(), text=str(json.loads(found.group())))

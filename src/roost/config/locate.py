"""Where each key of a TOML text stands: the standard parser tells only where the syntax breaks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass

KeyPath = tuple[str, ...]

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r]+|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<string>\"{3}(?:\\.|[^\\])*?\"{3}\"{0,2}
             | '{3}.*?'{3}'{0,2}
             | \"(?:\\.|[^\"\\\n])*\"
             | '[^'\n]*')
  | (?P<mark>[\[\]{},=.])
  | (?P<bare>[^\s\[\]{},=."'\#]+)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, order=True)
class Position:
    """Counted from 1."""

    line: int
    column: int


def position_at(text: str, offset: int) -> Position:
    """The line and column (in characters) of an offset."""
    start = text.rfind("\n", 0, offset) + 1
    return Position(text.count("\n", 0, offset) + 1, offset - start + 1)


def key_positions(text: str) -> dict[KeyPath, Position]:
    """Each key and table header of a text that `tomllib` accepts, by its path.

    Keys of tables inside arrays are left out: no setting has any.
    """
    walker = _Walker([match for match in _TOKEN.finditer(text) if match.lastgroup != "blank"])
    walker.document()
    return {path: position_at(text, offset) for path, offset in walker.offsets.items()}


class _Walker:
    """A reader of valid TOML that keeps keys and throws values away."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.offsets: dict[KeyPath, int] = {}
        self._tokens = tokens
        self._next = 0

    def document(self) -> None:
        table: KeyPath = ()
        while self._next < len(self._tokens):
            if self._at("["):
                table = self._header()
            elif self._kind() == "newline":
                self._next += 1
            else:
                self._assignment(table, record=True)

    def _header(self) -> KeyPath:
        while self._at("["):
            self._next += 1
        path = self._key((), record=True)
        while self._at("]"):
            self._next += 1
        return path

    def _assignment(self, table: KeyPath, *, record: bool) -> None:
        path = self._key(table, record=record)
        self._next += 1  # the equals sign
        self._value(path, record=record)

    def _key(self, table: KeyPath, *, record: bool) -> KeyPath:
        path, offset = table, self._tokens[self._next].start()
        while True:
            path = (*path, _plain(self._tokens[self._next].group()))
            self._next += 1
            if record:
                self.offsets.setdefault(path, offset)
            if not self._at("."):
                return path
            self._next += 1

    def _value(self, path: KeyPath, *, record: bool) -> None:
        if self._at("["):
            self._inside("]", lambda: self._value(path, record=False))
        elif self._at("{"):
            self._inside("}", lambda: self._assignment(path, record=record))
        else:
            while self._next < len(self._tokens) and not self._ends_scalar():
                self._next += 1

    def _inside(self, closing: str, item: Callable[[], None]) -> None:
        self._next += 1
        while self._next < len(self._tokens) and not self._at(closing):
            if self._at(",") or self._kind() == "newline":
                self._next += 1
            else:
                item()
        self._next += 1

    def _at(self, mark: str) -> bool:
        return self._kind() == "mark" and self._tokens[self._next].group() == mark

    def _kind(self) -> str | None:
        return self._tokens[self._next].lastgroup if self._next < len(self._tokens) else None

    def _ends_scalar(self) -> bool:
        return self._kind() == "newline" or any(self._at(mark) for mark in ",]}")


def _plain(token: str) -> str:
    """A key without its quotes and escapes."""
    if token[0] not in "\"'":
        return token
    return str(tomllib.loads(f"key = {token}")["key"])

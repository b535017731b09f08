"""Edits of TOML texts, statement by statement: the standard parser reads and cannot write."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from roost.connect.layout import ended, line_end, newline_of, next_line, replaced
from roost.connect.types import BrokenText, CannotEdit, Item, Path, dotted

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SKIPPED = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = r'"{3}(?:\\.|[^\\])*?"{3}"{0,2}|\'{3}.*?\'{3}\'{0,2}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
_KEY = re.compile(rf"(?:{_STRING}|[^\s\"'#=]+|[ \t]+)+?(?=[ \t]*=)", re.DOTALL)
_HEADER = re.compile(rf"\[\[?(?:{_STRING}|[^\]\"'\n])*\]\]?", re.DOTALL)
#: One piece of a value that is no end of a line.
_PIECE = re.compile(rf"{_STRING}|[^\s\"'#\[\]{{}}]+|[ \t\r]+", re.DOTALL)


@dataclass(frozen=True)
class _Statement:
    """A header or an assignment; `path` counts from the root."""

    start: int
    end: int
    path: tuple[str, ...]
    #: Where the value begins; None: it is a header.
    value_at: int | None = None


class TomlText:
    def read(self, text: str) -> Any:
        try:
            return tomllib.loads(text.replace("\r\n", "\n").removeprefix("\ufeff")) or None
        except tomllib.TOMLDecodeError as error:
            found = _PLACE.search(str(error))
            line = int(found[1]) if found and found[1] else text.count("\n") + 1
            raise BrokenText(line, int(found[2]) if found and found[2] else 1, _PLACE.sub("", str(error))) from None
        except (ValueError, RecursionError) as error:
            raise BrokenText(1, 1, f"it cannot be read as TOML: {error}") from None

    def put(self, text: str, path: Path, value: Any) -> str:
        self.read(text)
        keys = _keys(path)
        statements = _statements(text)
        for statement in statements:
            if statement.path == keys and statement.value_at is not None:
                return replaced(text, (statement.value_at, statement.end, _rendered(value)))
        line = f"{_key(keys[-1])} = {_rendered(value)}{newline_of(text)}"
        if len(keys) == 1:
            place = _end_of_section(text, statements, None)
        elif (header := _header(statements, keys[:-1])) is not None:
            place = _end_of_section(text, statements, header)
        else:
            return _with_table(text, keys[:-1], line)
        above = text[:place]
        return (ended(above) if place else above) + line + text[place:]

    def drop(self, text: str, path: Path) -> str:
        self.read(text)
        keys = _keys(path)
        for statement in _statements(text):
            if statement.path == keys:
                start, end = statement.start, next_line(text, statement.end)
                if statement.value_at is None:
                    start = _before_blank_line(text, start)
                return replaced(text, (start, end, ""))
        raise CannotEdit(f'"{dotted(path)}" does not stand in a line of its own')


def _keys(path: Path) -> tuple[str, ...]:
    keys = tuple(step for step in path if not isinstance(step, Item))
    if len(keys) < len(path):
        raise CannotEdit(f'no place for "{dotted(path)}": it is in a list')
    return keys


def _statements(text: str) -> list[_Statement]:
    """Those of a text that `tomllib` accepts."""
    found: list[_Statement] = []
    table: tuple[str, ...] = ()
    at = len(text) - len(text.removeprefix("\ufeff"))
    while (at := _past(_SKIPPED, text, at)) < len(text):
        if text[at] == "[":
            end = _past(_HEADER, text, at)
            table = _path(text[at:end].strip("[]"))
            found.append(_Statement(at, end, table))
        else:
            key_end = _past(_KEY, text, at)
            value_at = _past(_BLANKS, text, text.index("=", key_end) + 1)
            end = _end_of_value(text, value_at)
            found.append(_Statement(at, end, (*table, *_path(text[at:key_end])), value_at))
        at = line_end(text, end)
    return found


_BLANKS = re.compile(r"[ \t]*")


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _end_of_value(text: str, at: int) -> int:
    """Past a value; lines may end in it only between brackets."""
    depth = 0
    while at < len(text) and (depth or text[at] not in "\n#"):
        if text[at] in "[{":
            depth, at = depth + 1, at + 1
        elif text[at] in "]}":
            depth, at = depth - 1, at + 1
        elif depth and text[at] in "\n#":
            at = _past(_SKIPPED, text, at)
        else:
            at = max(_past(_PIECE, text, at), at + 1)
    return len(text[:at].rstrip(" \t\r"))


def _path(written: str) -> tuple[str, ...]:
    """The keys of `a."b c".d`."""
    value: Any = tomllib.loads(f"{written} = 0")
    keys = []
    while isinstance(value, dict):
        ((key, value),) = value.items()
        keys.append(key)
    return tuple(keys)


def _header(statements: list[_Statement], path: tuple[str, ...]) -> _Statement | None:
    return next((each for each in statements if each.value_at is None and each.path == path), None)


def _end_of_section(text: str, statements: list[_Statement], header: _Statement | None) -> int:
    """Behind the section's last assignment, or where the section begins."""
    begin = 0 if header is None else statements.index(header) + 1
    last = header
    for statement in statements[begin:]:
        if statement.value_at is None:
            break
        last = statement
    return 0 if last is None else next_line(text, last.end)


def _with_table(text: str, path: tuple[str, ...], line: str) -> str:
    newline = newline_of(text)
    above = ended(text)
    return f"{above}{newline if above.strip() else ''}[{'.'.join(map(_key, path))}]{newline}{line}"


def _before_blank_line(text: str, start: int) -> int:
    """A header that goes takes the blank line above it along."""
    for blank in ("\r\n\r\n", "\n\n"):
        if text[:start].endswith(blank):
            return start - len(blank) // 2
    return start


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _rendered(value: Any) -> str:
    """JSON's strings, numbers and truth values are TOML's too."""
    match value:
        case None:
            raise CannotEdit("TOML has no word for nothing")
        case dict():
            return "{" + ", ".join(f"{_key(key)} = {_rendered(each)}" for key, each in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_rendered, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)

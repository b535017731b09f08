"""JSON with comments and trailing commas as nodes that know where they stand: the standard parser forgets that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from roost.config.locate import position_at
from roost.connect.types import BrokenText, Step
from roost.connect.values import named

_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r'"(?:\\.|[^"\\\n])*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null')
#: Beyond it the file is nobody's settings; and the parser calls itself.
_DEEPEST = 200


@dataclass
class Node:
    """A value and its span; `parts` are the members of an object or the elements of a list."""

    start: int
    value: Any = None
    end: int = 0
    parts: list[Part] = field(default_factory=list)

    def find(self, step: Step) -> Part | None:
        """The last one that it names."""
        if isinstance(step, str):
            wanted = [part for part in self.parts if part.key == step] if isinstance(self.value, dict) else []
        else:
            wanted = [part for part in self.parts if named(part.node.value, step)]
            wanted = wanted if isinstance(self.value, list) else []
        return wanted[-1] if wanted else None


@dataclass
class Part:
    """A member or an element with the comma behind it."""

    start: int
    node: Node
    key: str | None = None
    #: Where the comma stands; None: there is none.
    comma: int | None = None

    @property
    def end(self) -> int:
        return self.node.end if self.comma is None else self.comma + 1


def parse(text: str) -> Node | None:
    """None: there is nothing but white space and comments. Raises BrokenText."""
    return _Reader(text).document()


def past_blank(text: str, offset: int) -> int:
    """Past white space and comments."""
    found = _BLANK.match(text, offset)
    return found.end() if found else offset


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def document(self) -> Node | None:
        self._skip()
        if self._at == len(self._text):
            return None
        node = self._value()
        self._skip()
        if self._at < len(self._text):
            raise self._broken("something stands behind the end")
        return node

    def _value(self) -> Node:
        opening = self._text[self._at : self._at + 1]
        if opening in ("{", "["):
            return self._collection(opening)
        return self._scalar()

    def _scalar(self) -> Node:
        found = _SCALAR.match(self._text, self._at)
        if found is None:
            raise self._broken("a value is expected")
        node = Node(self._at, end=found.end())
        try:
            node.value = json.loads(found[0])
        except ValueError:
            raise self._broken("this is no value") from None
        self._at = found.end()
        return node

    def _collection(self, opening: str) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._broken(f"brackets are more than {_DEEPEST} deep")
        node = Node(self._at)
        closing = "}" if opening == "{" else "]"
        self._at += 1
        self._skip()
        while not self._take(closing):
            if node.parts and node.parts[-1].comma is None:
                raise self._broken(f'"," or "{closing}" is expected')
            part = self._member() if opening == "{" else Part(self._at, self._value())
            node.parts.append(part)
            self._skip()
            part.comma = self._at - 1 if self._take(",") else None
            self._skip()
        node.end = self._at
        values = [part.node.value for part in node.parts]
        node.value = {part.key: part.node.value for part in node.parts} if opening == "{" else values
        self._depth -= 1
        return node

    def _member(self) -> Part:
        start = self._at
        if not self._text.startswith('"', start):
            raise self._broken("a key in double quotes is expected")
        key = self._scalar().value
        self._skip()
        if not self._take(":"):
            raise self._broken('":" is expected')
        self._skip()
        return Part(start, self._value(), key=key)

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += 1
        return True

    def _skip(self) -> None:
        self._at = past_blank(self._text, self._at)

    def _broken(self, why: str) -> BrokenText:
        position = position_at(self._text, self._at)
        return BrokenText(position.line, position.column, why)

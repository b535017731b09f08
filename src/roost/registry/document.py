"""The registry as text that can be edited: each edit touches the bytes of one value and leaves all others alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from roost.registry.jsontext import Member, Node, parse_json

_DEFAULT_INDENT = "  "
_EMPTY = "{}\n"
_LAST_LINE_BLANK = re.compile(r"\n[ \t]*\Z")


@dataclass(frozen=True)
class Document:
    """A JSON text whose top level is an object."""

    text: str
    root: Node

    @classmethod
    def of(cls, text: str) -> Document:
        """Raises JsonError when it is not JSON."""
        return cls(text, parse_json(text))

    @classmethod
    def empty(cls) -> Document:
        return cls.of(_EMPTY)

    def value(self, table: str, key: str) -> str | None:
        """The string at `table`.`key`; None when there is none."""
        node = self.root.get(table)
        found = node.get(key) if node else None
        return found.text if found else None

    def with_string(self, table: str, key: str, value: str) -> Document:
        """`table`.`key` = `value`, in place, or as the last key of the table, or in a new table at the end."""
        literal = json.dumps(value, ensure_ascii=False)
        node = self.root.get(table)
        if node is None:
            return self._inserted(self.root, 1, table, self._object_literal(key, literal))
        found = node.get(key)
        if found is None:
            return self._inserted(node, 2, key, literal)
        return self if found.text == value else self._spliced(found.start, found.end, literal)

    def without(self, table: str, key: str) -> Document:
        """`table` without `key`, with the comma that belonged to it; unchanged when there is none."""
        node = self.root.get(table)
        index = next((i for i, member in enumerate(node.members) if member.key == key), None) if node else None
        if node is None or index is None:
            return self
        if len(node.members) == 1:
            return self._spliced(node.start, node.end, "{}")
        if index == 0:
            return self._spliced(node.members[0].key_start, node.members[1].key_start, "")
        return self._spliced(node.members[index - 1].value.end, node.members[index].value.end, "")

    def _spliced(self, start: int, end: int, replacement: str) -> Document:
        return Document.of(self.text[:start] + replacement + self.text[end:])

    def _inserted(self, node: Node, depth: int, key: str, literal: str) -> Document:
        name = json.dumps(key, ensure_ascii=False)
        if node.members:
            last = node.members[-1]
            before = self._before(node, len(node.members) - 1)
            entry = f",{before}{name}{self._between(last)}{literal}"
            return self._spliced(last.value.end, last.value.end, entry)
        if not self._many_lines():
            return self._spliced(node.start, node.end, f"{{{name}: {literal}}}")
        inner, outer = self._indent() * depth, self._indent() * (depth - 1)
        return self._spliced(node.start, node.end, f"{{\n{inner}{name}: {literal}\n{outer}}}")

    def _object_literal(self, key: str, literal: str) -> str:
        """A new table with one key, on lines of its own where the text has lines."""
        entry = f"{json.dumps(key, ensure_ascii=False)}: {literal}"
        if not self._many_lines():
            return f"{{{entry}}}"
        return f"{{\n{self._indent() * 2}{entry}\n{self._indent()}}}"

    def _before(self, node: Node, index: int) -> str:
        """White space between a member and the mark before it."""
        start = node.start + 1 if index == 0 else self.text.index(",", node.members[index - 1].value.end) + 1
        return self.text[start : node.members[index].key_start]

    def _between(self, member: Member) -> str:
        """The colon with the white space around it."""
        return self.text[member.key_end : member.value.start]

    def _many_lines(self) -> bool:
        return not self.root.members or "\n" in self.text[self.root.start : self.root.end]

    def _indent(self) -> str:
        """One step of indentation as this file uses it."""
        if self.root.members and (found := _LAST_LINE_BLANK.search(self._before(self.root, 0))):
            return found.group()[1:] or _DEFAULT_INDENT
        return _DEFAULT_INDENT

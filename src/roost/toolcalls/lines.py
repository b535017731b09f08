"""Where in a Markdown text one stands: only at the start of a line, or at a sentence's end, a marker is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_QUOTE = re.compile(r" {0,3}>(?!>>)")
_INDENT = re.compile(r" {0,3}")
#: So much of a line tells what it is.
_HEAD = 96
_ALL = "`x"
_SENTENCE_ENDS = frozenset(".!?:…。！？：")


@dataclass(frozen=True, slots=True)
class Lines:
    """The line that a text has come to. `fresh`: nothing but white space has come yet."""

    head: str = ""
    #: Of the line behind its head, as far as it matters: a backtick, an x for any text.
    beyond: str = ""
    last: str = ""
    #: The fence that is open.
    fence: str = ""
    fresh: bool = True
    #: A marker that was not meant as one has just gone by: what it opens is part of it.
    shadowed: bool = False

    def after(self, text: str) -> Lines:
        """Where one stands behind the text."""
        if not text:
            return self
        fresh, shadowed = self.fresh and text.isspace(), self.shadowed and text.isspace()
        if "\n" not in text:
            return Lines(*self._with(text), text[-1], self.fence, fresh, shadowed)
        first, *lines = text.split("\n")
        state = self._closed("".join(self._with(first)))
        for line in lines[:-1]:
            state = state._closed("".join(_cut(line)))
        return Lines(*_cut(lines[-1]), text[-1], state.fence, fresh, shadowed)

    def _with(self, text: str) -> tuple[str, str]:
        """Head and beyond of the line with more of it."""
        if len(self.head) < _HEAD:
            return _cut(self.head + text)
        return self.head, self.beyond if self.beyond == _ALL else _summary(self.beyond + text)

    def _closed(self, line: str) -> Lines:
        """After a whole line, cut as its head and what matters beyond."""
        found = _FENCE.match(line)
        if found is None:
            return self
        fence, rest = found.groups()
        if not self.fence:
            # Backticks behind a fence of backticks make it a code span.
            return self if fence[0] == "`" and "`" in rest else replace(self, fence=fence)
        closes = fence.startswith(self.fence) and not rest.strip()
        return replace(self, fence="") if closes else self

    @property
    def admits(self) -> bool:
        """Whether a marker that stands here is meant as one."""
        if self.fence or self.shadowed or _QUOTE.match(self.head):
            return False
        if not self.head.strip():
            return self.fresh or _INDENT.fullmatch(self.head) is not None
        return self.last in _SENTENCE_ENDS


def _cut(line: str) -> tuple[str, str]:
    return line[:_HEAD], _summary(line[_HEAD:])


def _summary(text: str) -> str:
    return ("`" if "`" in text else "") + ("x" if text.strip() else "")

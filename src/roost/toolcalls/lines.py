"""Where in a Markdown text one stands: only at the start of a line, or at a sentence's end, a marker is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_QUOTE = re.compile(r" {0,3}>(?!>>)")
_INDENT = re.compile(r" {0,3}")
#: So much of a line tells what it is.
_HEAD = 96
_SENTENCE_ENDS = frozenset(".!?:…。！？：")


@dataclass(frozen=True, slots=True)
class Lines:
    """The line that a text has come to. `fresh`: nothing but white space has come yet."""

    head: str = ""
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
            head = self.head if len(self.head) >= _HEAD else (self.head + text)[:_HEAD]
            return Lines(head, text[-1], self.fence, fresh, shadowed)
        lines = (self.head + text).split("\n")
        state = self
        for line in lines[:-1]:
            state = state._closed(line)
        return Lines(lines[-1][:_HEAD], text[-1], state.fence, fresh, shadowed)

    def _closed(self, line: str) -> Lines:
        """After a whole line."""
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

"""How a text is laid out: its line ends, its indentation, and the ends of its lines."""

from __future__ import annotations

import re

_INDENTED = re.compile(r"^([ \t]+)\S", re.MULTILINE)
DEFAULT_INDENTATION = "  "


def newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def indentation_of(text: str) -> str:
    """That of the first indented line."""
    found = _INDENTED.search(text)
    return found[1] if found else DEFAULT_INDENTATION


def line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def line_end(text: str, offset: int) -> int:
    """The offset of the line's end, before its newline."""
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    return end - 1 if end > offset and text[end - 1] == "\r" else end


def next_line(text: str, offset: int) -> int:
    """The offset at which the following line begins."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def margin(text: str, offset: int) -> str:
    """The white space that the line of `offset` begins with."""
    start = line_start(text, offset)
    line = text[start : line_end(text, start)]
    return line[: len(line) - len(line.lstrip(" \t"))]


def ended(text: str) -> str:
    """The text with its last line ended."""
    return text if not text or text.endswith("\n") else text + newline_of(text)


def replaced(text: str, *changes: tuple[int, int, str]) -> str:
    """The text with spans exchanged, each (start, end, new); spans do not overlap."""
    for start, end, new in sorted(changes, key=lambda change: change[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text

"""Edits of JSON texts, with comments or without: nothing moves but what is edited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from roost.connect.json_nodes import Node, Part, parse, past_blank
from roost.connect.layout import indentation_of, line_end, margin, newline_of, replaced
from roost.connect.types import BrokenText, CannotEdit, Path, Step, dotted
from roost.connect.values import nested


@dataclass(frozen=True)
class JsonText:
    #: Whether the client itself reads comments and trailing commas.
    comments: bool

    def read(self, text: str) -> Any:
        node = parse(text)
        if node is not None and not self.comments:
            _refuse_comments(text)
        return None if node is None else node.value

    def put(self, text: str, path: Path, value: Any) -> str:
        root = parse(text)
        if root is None:
            return _begun(text, path, value)
        node = root
        for depth, step in enumerate(path):
            part = node.find(step)
            if part is None:
                return _inserted(text, node, path[depth:], value)
            node = part.node
        new = _rendered(value, text, margin(text, node.start))
        return replaced(text, (node.start, node.end, new))

    def drop(self, text: str, path: Path) -> str:
        node = parse(text)
        around, part = node, None
        for step in path:
            around, part = node, node.find(step) if node else None
            node = part.node if part else None
        if around is None or part is None:
            raise CannotEdit(f'"{dotted(path)}" is not there')
        return _without(text, around, part)


def _refuse_comments(text: str) -> None:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise BrokenText(
            error.lineno, error.colno, f"{error.msg} (this program reads neither comments nor trailing commas)"
        ) from None


def _begun(text: str, path: Path, value: Any) -> str:
    """The first value of a file that has none; comments stay above it."""
    newline = newline_of(text)
    above = f"{text.rstrip()}{newline}" if text.strip() else ""
    return above + _rendered(nested(path, value), text, "") + newline


def _rendered(value: Any, text: str, outer: str) -> str:
    lines = json.dumps(value, indent=indentation_of(text), ensure_ascii=False).split("\n")
    return (newline_of(text) + outer).join(lines)


def _inserted(text: str, around: Node, path: Path, value: Any) -> str:
    """A new member or element behind the last one, written as those before it are."""
    if isinstance(path[0], str) is not isinstance(around.value, dict) or not isinstance(around.value, dict | list):
        raise CannotEdit(f'no place for "{dotted(path)}": what is around it is something else')
    outer = margin(text, around.start)
    if not around.parts:
        return _filled(text, around, path, value, outer)
    last = around.parts[-1]
    if "\n" not in text[around.start : around.parts[0].start]:
        comma = ", " if last.comma is None else " "
        return replaced(text, (last.end, last.end, comma + _on_one_line(path, value)))
    inner = margin(text, around.parts[0].start)
    new = newline_of(text) + inner + _part(path, value, text, inner)
    place = _past_comment(text, last.end, around.end - 1)
    if place == last.end and last.comma is None:
        return replaced(text, (place, place, f",{new}"))
    comma_first = [] if last.comma is not None else [(last.node.end, last.node.end, ",")]
    return replaced(text, *comma_first, (place, place, new))


def _past_comment(text: str, offset: int, limit: int) -> int:
    """Past the comment on the rest of this line, which is about what stands before it."""
    end = min(line_end(text, offset), limit)
    rest = text[offset:end].strip()
    is_comment = rest.startswith("//") or (rest.startswith("/*") and past_blank(text, offset) >= end)
    return offset + len(text[offset:end].rstrip()) if is_comment else offset


def _filled(text: str, around: Node, path: Path, value: Any, outer: str) -> str:
    """The first one of an empty object or list; comments in it stay above."""
    inner = outer + indentation_of(text)
    newline = newline_of(text)
    comments = text[around.start + 1 : around.end - 1].rstrip()
    new = comments + newline + inner + _part(path, value, text, inner) + newline + outer
    return replaced(text, (around.start + 1, around.end - 1, new))


def _part(path: Path, value: Any, text: str, inner: str) -> str:
    key, content = _split(path, value)
    return key + _rendered(content, text, inner)


def _on_one_line(path: Path, value: Any) -> str:
    key, content = _split(path, value)
    return key + json.dumps(content, ensure_ascii=False)


def _split(path: Path, value: Any) -> tuple[str, Any]:
    """The key as it is written, and what stands behind it."""
    first: Step = path[0]
    if isinstance(first, str):
        return f"{json.dumps(first, ensure_ascii=False)}: ", nested(path[1:], value)
    return "", nested(path, value)[0]


def _without(text: str, around: Node, part: Part) -> str:
    index = around.parts.index(part)
    start = len(text[: part.start].rstrip(" \t\r\n"))
    if len(around.parts) == 1:
        inside = text[around.start + 1 : start] + text[part.end : around.end - 1]
        return replaced(text, (around.start + 1, around.end - 1, inside if inside.strip() else ""))
    if index < len(around.parts) - 1:
        following = around.parts[index + 1].start
        alone = "\n" in text[part.end : following]
        return replaced(text, (start, part.end, "") if alone else (part.start, following, ""))
    before = around.parts[index - 1]
    if part.comma is not None or before.comma is None:
        return replaced(text, (start, part.end, ""))
    # The comma before it goes too; a comment between them belongs to the one that stays.
    return replaced(text, (before.comma, before.comma + 1, ""), (max(start, before.comma + 1), part.end, ""))

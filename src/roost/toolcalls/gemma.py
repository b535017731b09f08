"""Gemma's calls: `call:name{key:<|"|>text<|"|>,…}` with bare keys, and FunctionGemma's with `<escape>`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from roost.toolcalls.cursor import Cursor
from roost.toolcalls.literal import MOST_DEPTH, decode
from roost.toolcalls.values import NoCall, RawCall, Reason

_OPENERS = ("<|tool_call>", "<|tool_call|>", "<start_function_call>")
_CLOSERS = ("<tool_call|>", "<|tool_call|>", "<end_function_call>")
_NAME = re.compile(r"call:\s*+([\w.-]++)\s*+")
_NAME_CUT = re.compile(r"(?:c|ca|cal|call|call:\s*+[\w.-]*+\s*+)?$")
_QUOTES = ('<|"|>', "<escape>")
_KEY = re.compile(r'\s*(?:"([^"\\]+)"|([^\s:{}\[\],"<>]+))\s*:\s*')
_SCALAR = re.compile(r"[^,{}\[\]<>]+")
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def gemma(cursor: Cursor) -> Iterator[RawCall]:
    """Gemma 4 with its drifted envelope, and FunctionGemma."""
    while cursor.take(*_OPENERS):
        cursor.space()
        while cursor.sees("call:") or not cursor.sees(*_CLOSERS):
            yield _call(cursor)
            if not cursor.space().sees("call:"):
                break
        cursor.take(*_CLOSERS)
        cursor.space()


def _call(cursor: Cursor) -> RawCall:
    head = cursor.match(_NAME)
    if head is None or cursor.ended:
        cut = head is not None or _NAME_CUT.match(cursor.text, cursor.at)
        raise NoCall(Reason.TRUNCATED if cut else Reason.MALFORMED)
    tool = cursor.tool(head[1])
    bracketed = cursor.take("(")
    cursor.space()
    start = cursor.at
    try:
        arguments, raw = _object(cursor, 0), None
    except NoCall as refused:
        if refused.reason is Reason.TOO_DEEP or not bracketed:
            raise
        cursor.at = start
        read = cursor.value()
        arguments, raw = read.value, read.raw
    if bracketed:
        cursor.space().need(")")
    return RawCall(tool.name, arguments, raw)


def _object(cursor: Cursor, depth: int) -> dict[str, Any]:
    cursor.need("{")
    found: dict[str, Any] = {}
    if cursor.space().take("}"):
        return found
    while True:
        key = cursor.match(_KEY)
        if key is None:
            raise NoCall(Reason.MALFORMED if set(cursor.text[cursor.at :]) & set("{}[],<>") else Reason.TRUNCATED)
        name = key[1] or key[2]
        if name in found:
            raise NoCall(Reason.MALFORMED)
        found[name] = _value(cursor, depth + 1)
        cursor.space()
        if cursor.take("}"):
            return found
        cursor.need(",")


def _list(cursor: Cursor, depth: int) -> list[Any]:
    cursor.need("[")
    found: list[Any] = []
    if cursor.space().take("]"):
        return found
    while True:
        cursor.space()
        found.append(_value(cursor, depth + 1))
        cursor.space()
        if cursor.take("]"):
            return found
        cursor.need(",")


def _value(cursor: Cursor, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise NoCall(Reason.TOO_DEEP)
    for quote in _QUOTES:
        if cursor.take(quote):
            end = cursor.text.find(quote, cursor.at)
            if end < 0:
                raise NoCall(Reason.TRUNCATED)
            text, cursor.at = cursor.text[cursor.at : end], end + len(quote)
            return text
    if cursor.next == "{":
        return _object(cursor, depth)
    if cursor.next == "[":
        return _list(cursor, depth)
    if cursor.next == '"':
        return _scalar(cursor.match(_JSON_STRING), cursor)
    if cursor.next == "<":
        raise cursor.wrong(*_QUOTES)
    return _scalar(cursor.match(_SCALAR), cursor)


def _scalar(match: re.Match[str] | None, cursor: Cursor) -> Any:
    if match is None or cursor.ended:
        raise NoCall(Reason.TRUNCATED)
    try:
        return decode(match.group().strip())
    except ValueError:
        raise NoCall(Reason.MALFORMED) from None

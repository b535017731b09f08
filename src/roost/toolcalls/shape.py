"""An entire message in the shape of calls: a JSON fence, bare JSON, a Python list. Without a marker to go by, every
foreign key, every other word, and every fence that says another language makes it what it mostly is: text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roost.toolcalls.calls import KEYS, calls_in, clean_name
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.pythonic import call_list
from roost.toolcalls.values import NoCall, RawCall, Reason

_FENCE = re.compile(r"```[ \t]*+(?P<language>[\w-]*+)[ \t]*+\r?\n\s*+")
_FENCE_CUT = re.compile(r"`{1,3}[ \t]*+[\w-]*+[ \t]*+\r?$|`{1,3}$")
_LANGUAGES = frozenset({"", "json", "tool_call", "tool_calls", "tool_code"})
#: `[` and what may come before a call in it.
_LIST_OF_OBJECTS = re.compile(r"\[\s*(?:\{|$)")
_FIRST_KEY = re.compile(r"[\[\s]*\{\s*[\"']([^\"'\\]*)[\"']")
_NAME_FIRST = re.compile(r"[\[\s]*\{\s*[\"']name[\"']\s*:\s*[\"']([^\"'\\]*)[\"']")
_FIRST_KEYS = KEYS | {"tool_calls"}


def shape(cursor: Cursor) -> Iterator[RawCall]:
    """The message from its first character. Raises NoCall."""
    cursor.space()
    if cursor.next == "`":
        yield from _fences(cursor)
    else:
        cursor.steps.append("bare")
        yield from _values(cursor)


def _fences(cursor: Cursor) -> Iterator[RawCall]:
    cursor.steps.append("fence")
    while cursor.next == "`":
        head = cursor.match(_FENCE)
        if head is None:
            raise NoCall(Reason.TRUNCATED if _FENCE_CUT.match(cursor.text, cursor.at) else Reason.MALFORMED)
        if head["language"].lower() not in _LANGUAGES:
            raise NoCall(Reason.MALFORMED)
        if cursor.ended:
            raise NoCall(Reason.TRUNCATED)
        yield from _values(cursor)
        if not cursor.ended and not cursor.take("```"):
            raise cursor.wrong("```")
        cursor.space()


def _values(cursor: Cursor) -> Iterator[RawCall]:
    """Objects, or lists of them, one after another; or one Python list."""
    if cursor.next == "[" and not _LIST_OF_OBJECTS.match(cursor.text, cursor.at):
        yield from call_list(cursor)
        cursor.space()
        return
    if cursor.next not in ("{", "["):
        raise NoCall(Reason.MALFORMED)
    while cursor.next in ("{", "["):
        _check_first_key(cursor)
        yield from calls_in(cursor.value("```"))
        cursor.space().take(";")
        cursor.space()


def _check_first_key(cursor: Cursor) -> None:
    """What the first key tells before the value is whole: most JSON is no call. Raises NoCall."""
    key = _FIRST_KEY.match(cursor.text, cursor.at)
    if key is not None and key[1] not in _FIRST_KEYS:
        raise NoCall(Reason.MALFORMED)
    named = _NAME_FIRST.match(cursor.text, cursor.at)
    if named is not None:
        clean_name(named[1], cursor.tools)

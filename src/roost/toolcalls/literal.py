"""Values that models write: JSON, and what is nearly JSON. Read without a guess, by a ladder of lossless steps.

A string that is not closed is never completed, a member never added or dropped: such a text is refused.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from roost.toolcalls.values import NoCall, Reason

#: Deeper values end in the decoder's recursion limit.
MOST_DEPTH = 64
#: So many closing brackets may be missing before a closing tag.
_MOST_MISSING = 2
_CLOSERS = {"{": "}", "[": "]", "(": ")"}
_DOUBLE = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_SINGLE = r"'[^'\\]*(?:\\.[^'\\]*)*'"
_JSON_TOKEN = rf'{_DOUBLE}|["{{}}\[\]]'
_PYTHON_TOKEN = rf"{_DOUBLE}|{_SINGLE}|[\"'{{}}\[\]()]"
_TRAILING_COMMA = re.compile(rf"({_DOUBLE})|,(?=\s*[}}\]])", re.DOTALL)
_STRING = re.compile(rf"{_DOUBLE}|{_SINGLE}", re.DOTALL)
#: What Python reads and JSON does not, or otherwise: a line that goes on, halves of a character, other escapes.
_FOREIGN_ESCAPE = re.compile(r"\\(?:\n|u[dD][89a-fA-F])")
_FOREIGN_TO_JSON = re.compile(r"\\[^\"'\\bfnrtu]")
_SPACE = re.compile(r"\s*")
_BETWEEN = re.compile(r"[\s,]*")
_KEY = re.compile(rf"\s*({_DOUBLE})\s*:\s*", re.DOTALL)
_NAMES = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


@dataclass(frozen=True)
class Read:
    """A value, and where the text goes on. `raw` is its own text when that is JSON as it stands."""

    value: Any
    end: int
    raw: str | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """What brackets and quotes tell of a value. `missing` closes it, where a closing tag stands at `end`."""

    end: int
    missing: str = ""


def read_value(text: str, at: int, closing_tags: Iterable[str] = ()) -> Read:
    """The object or array that begins at `at`. Raises NoCall.

    A closing tag outside of strings proves the end, so that up to two closing brackets may be missing before it.
    """
    if text[at : at + 1] not in ("{", "["):
        raise NoCall(Reason.MALFORMED if at < len(text) else Reason.TRUNCATED)
    tags = "".join(f"|{re.escape(tag)}" for tag in closing_tags)
    first: NoCall | None = None
    for pattern, ladder in ((_JSON_TOKEN, _json), (_PYTHON_TOKEN, _python)):
        try:
            span = _span(text, at, re.compile(pattern + tags, re.DOTALL))
            value, raw, steps = ladder(text[at : span.end].rstrip() + span.missing)
        except NoCall as refused:
            if refused.reason is Reason.TOO_DEEP:
                raise
            first = _worse(first, refused)
            continue
        missing = ("missing_closers",) if span.missing else ()
        return Read(value, span.end, None if missing else raw, (*steps, *missing))
    raise first or NoCall(Reason.MALFORMED)


def _worse(first: NoCall | None, second: NoCall) -> NoCall:
    """Truncated if either says so: more text may still help."""
    if first is None or second.reason is Reason.TRUNCATED:
        return second
    return first


def _span(text: str, at: int, tokens: re.Pattern[str]) -> _Span:
    """Where the value that begins at `at` ends. Raises NoCall."""
    open_brackets: list[str] = []
    for match in tokens.finditer(text, at):
        token = match.group()
        if token in _CLOSERS:
            open_brackets.append(_CLOSERS[token])
            if len(open_brackets) > MOST_DEPTH:
                raise NoCall(Reason.TOO_DEEP)
        elif token in ("}", "]", ")"):
            if open_brackets.pop() != token:
                raise NoCall(Reason.MALFORMED)
            if not open_brackets:
                return _Span(match.end())
        elif token in ('"', "'"):
            raise NoCall(Reason.TRUNCATED)
        elif token[0] not in "\"'":
            if len(open_brackets) > _MOST_MISSING:
                raise NoCall(Reason.MALFORMED)
            return _Span(match.start(), "".join(reversed(open_brackets)))
    raise NoCall(Reason.TRUNCATED)


def _json(text: str) -> tuple[Any, str | None, tuple[str, ...]]:
    """JSON; with raw control characters in strings; with trailing commas."""
    try:
        return decode(text), text, ()
    except ValueError:
        pass
    try:
        return decode(text, strict=False), None, ("control_characters",)
    except ValueError:
        pass
    mended = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
    if mended == text:
        raise NoCall(Reason.MALFORMED)
    try:
        return decode(mended), None, ("trailing_commas",)
    except ValueError:
        pass
    try:
        return decode(mended, strict=False), None, ("control_characters", "trailing_commas")
    except ValueError:
        raise NoCall(Reason.MALFORMED) from None


def decode(text: str, *, strict: bool = True) -> Any:
    """JSON without NaN, and without a key that stands twice. Raises ValueError."""
    return json.loads(text, strict=strict, object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(literal: str) -> NoReturn:
    raise ValueError(literal)


def _python(text: str) -> tuple[Any, str | None, tuple[str, ...]]:
    _check_strings(text)
    return literal_value(parse_expression(text)), None, ("python_literal",)


def _check_strings(text: str) -> None:
    """Python would join strings where a comma is missing, and read some escapes in another way than whoever wrote them
    in a JSON string meant. Raises NoCall."""
    end = -1
    for string in _STRING.finditer(text):
        token = string.group().replace("\\\\", "")
        if end >= 0 and not text[end : string.start()].strip():
            raise NoCall(Reason.MALFORMED)
        if _FOREIGN_ESCAPE.search(token) or (token[0] == '"' and _FOREIGN_TO_JSON.search(token)):
            raise NoCall(Reason.MALFORMED)
        end = string.end()


def parse_expression(text: str) -> ast.expr:
    """A Python expression, unevaluated. Raises NoCall."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NoCall(Reason.MALFORMED) from None


def literal_value(node: ast.expr) -> Any:
    """The value of a literal; JSON's words for true, false and null are known. Raises NoCall for anything else."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [literal_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            names = [literal_value(key) if key is not None else None for key in keys]
            if len(set(map(str, names))) == len(names) and all(isinstance(name, str) for name in names):
                return dict(zip(names, map(literal_value, values), strict=True))
    raise NoCall(Reason.MALFORMED)


def members(raw: str) -> dict[str, str]:
    """The members of a sound JSON object as their own text."""
    found: dict[str, str] = {}
    scan = json.JSONDecoder().raw_decode
    at = raw.index("{") + 1
    while key := _KEY.match(raw, at):
        _, end = scan(raw, key.end())
        found[json.loads(key[1])] = raw[key.end() : end]
        space = _SPACE.match(raw, end)
        at = (space.end() if space else end) + 1
    return found


def items(raw: str) -> list[str]:
    """The items of a sound JSON array as their own text."""
    found: list[str] = []
    scan = json.JSONDecoder().raw_decode
    at = raw.index("[") + 1
    while (space := _BETWEEN.match(raw, at)) and raw[space.end()] != "]":
        _, at = scan(raw, space.end())
        found.append(raw[space.end() : at])
    return found


def dumped(value: object) -> str:
    """A value as JSON text with characters as they are. Raises NoCall for what JSON cannot say."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise NoCall(Reason.MALFORMED) from None
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def python_end(text: str, at: int) -> int:
    """Where the bracket that opens at `at` closes, by Python's quotes. Raises NoCall."""
    return _span(text, at, re.compile(_PYTHON_TOKEN, re.DOTALL)).end

"""Calls written as Python: `[name(key=literal, …), …]` (Llama 3.2 and 4, Olmo, LFM2). Parsed, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from roost.toolcalls.calls import calls_in
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.literal import literal_value, parse_expression, python_end
from roost.toolcalls.values import NoCall, RawCall, Reason

_LFM, _LFM_END = "<|tool_call_start|>", "<|tool_call_end|>"
_JSON_LIST = re.compile(r"\[\s*\{")
_HEAD = re.compile(r"\[\s*([A-Za-z_][\w.-]*)\s*\(")
_HEAD_CUT = re.compile(r"\[\s*(?:[A-Za-z_][\w.-]*\s*)?$")


def lfm(cursor: Cursor) -> Iterator[RawCall]:
    """LFM2: the list between two marks."""
    while cursor.take(_LFM):
        cursor.space()
        if cursor.next != "[":
            raise cursor.wrong("[")
        if _JSON_LIST.match(cursor.text, cursor.at):
            yield from calls_in(cursor.value(_LFM_END))
        else:
            yield from call_list(cursor)
        cursor.space().take(_LFM_END)
        cursor.space()


def call_list(cursor: Cursor) -> Iterator[RawCall]:
    """The list that begins here. Raises NoCall."""
    head = _HEAD.match(cursor.text, cursor.at)
    if head is None:
        cut = _HEAD_CUT.match(cursor.text, cursor.at)
        raise NoCall(Reason.TRUNCATED if cut else Reason.MALFORMED)
    cursor.tool(head[1])
    end = python_end(cursor.text, cursor.at)
    source = _with_identifiers(cursor.text[cursor.at : end], cursor)
    expression = parse_expression(source)
    cursor.at = end
    if not isinstance(expression, ast.List) or not expression.elts or not _as_written(expression, source):
        raise NoCall(Reason.MALFORMED)
    names = {_identifier(name): name for name in cursor.tools.by_name}
    for element in expression.elts:
        yield _call(element, names)


def _call(node: ast.expr, names: dict[str, str]) -> RawCall:
    """Positional arguments have no name, and none is guessed."""
    if not isinstance(node, ast.Call) or node.args:
        raise NoCall(Reason.MALFORMED)
    written = _dotted(node.func)
    arguments: dict[str, object] = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise NoCall(Reason.MALFORMED)
        arguments[keyword.arg] = literal_value(keyword.value)
    return RawCall(names.get(written, written), arguments)


def _as_written(expression: ast.expr, source: str) -> bool:
    """Whether all names stand in the source: Python takes some letters for others of the same look (NFKC)."""
    for node in ast.walk(expression):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str() as name):
                if name not in source:
                    return False
    return True


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    raise NoCall(Reason.MALFORMED)


def _identifier(name: str) -> str:
    """A tool's name as Python can read it: a hyphen would be a minus."""
    return name.replace("-", "__hyphen__")


def _with_identifiers(text: str, cursor: Cursor) -> str:
    hyphened = [name for name in cursor.tools.by_name if "-" in name]
    if not hyphened:
        return text
    either = "|".join(re.escape(name) for name in sorted(hyphened, key=len, reverse=True))
    strings = r'"[^"\\]*(?:\\.[^"\\]*)*"|' + r"'[^'\\]*(?:\\.[^'\\]*)*'"
    pattern = re.compile(rf"({strings})|\b({either})(?=\s*\()", re.DOTALL)
    return pattern.sub(lambda match: match[1] or _identifier(match[2]), text)

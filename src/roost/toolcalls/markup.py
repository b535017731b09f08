"""Grammars in tags, whose values are not escaped: Qwen3-Coder and its kin, GLM, MiniMax, DeepSeek's DSML.

A value may hold its own closing tag: it ends at the last one before the next parameter that the tool declares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from roost.toolcalls.calls import calls_in
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.schema import typed
from roost.toolcalls.values import NoCall, RawCall, Reason, Tool


@dataclass(frozen=True)
class Markup:
    """Tags of one family. `opening` has the group `name`, and `text` where a flag says that the value is text."""

    opening: re.Pattern[str]
    closing: str
    #: Ends the call.
    end: str
    #: Begins a call of this family: one in a value has an end of its own.
    head: str
    #: One line feed on each side of a value belongs to the tags.
    framed: bool = False


_QWEN = Markup(re.compile(r"<parameter=(?P<name>[^>\n]+)>"), "</parameter>", "</function>", "<function=", framed=True)
_GLM = Markup(
    re.compile(r"<arg_key>(?P<name>[^<]*)</arg_key>\s*<arg_value>"), "</arg_value>", "</tool_call>", "<tool_call>"
)
_MINIMAX = Markup(re.compile(r'<parameter name="(?P<name>[^"]+)">'), "</parameter>", "</invoke>", "<invoke name=")
_DSML = Markup(
    re.compile(r'<｜DSML｜parameter name="(?P<name>[^"]+)"(?: string="(?P<text>true|false)")?>'),
    "</｜DSML｜parameter>",
    "</｜DSML｜invoke>",
    "<｜DSML｜invoke name=",
)
_FUNCTION = re.compile(r"<function=([^>\n]+)>")
_GLM_NAME = re.compile(r"\s*([^\s<{]+)\s*")
_INVOKE = re.compile(r'<invoke name="([^"]+)">')
_DSML_INVOKE = re.compile(r'<｜DSML｜invoke name="([^"]+)">')
_DSML_SECTIONS = ("<｜DSML｜function_calls>", "<｜DSML｜tool_calls>")
_DSML_SECTION_ENDS = ("</｜DSML｜function_calls>", "</｜DSML｜tool_calls>")
#: MiniMax M3 writes it before each tag.
M3_PREFIX = "]<]minimax[>["
_TOOL_CALL, _TOOL_CALL_END = "<tool_call>", "</tool_call>"


def tool_call_tag(cursor: Cursor) -> Iterator[RawCall]:
    """`<tool_call>` is Hermes', Qwen's and GLM's: the first character inside tells which; `<function=` may lack it."""
    while cursor.sees(_TOOL_CALL, "<function="):
        tagged = cursor.take(_TOOL_CALL)
        cursor.space()
        if cursor.next in ("{", "["):
            yield from _json_inside(cursor)
        elif cursor.sees("<function="):
            yield _function(cursor)
        elif tagged and not _cut_tag(cursor, "<function="):
            yield _glm(cursor)
        cursor.space().take(_TOOL_CALL_END)
        cursor.space()


def _cut_tag(cursor: Cursor, tag: str) -> bool:
    """Raises NoCall where the text ends in the middle of the tag, or before it."""
    if tag.startswith(cursor.text[cursor.at :]):
        raise NoCall(Reason.TRUNCATED)
    return False


def _json_inside(cursor: Cursor) -> Iterator[RawCall]:
    while cursor.next in ("{", "["):
        yield from calls_in(cursor.value(_TOOL_CALL_END))
        cursor.space()


def function_tag(cursor: Cursor) -> Iterator[RawCall]:
    """Seed's section of functions; the inside is Qwen3-Coder's."""
    while cursor.take("<seed:tool_call>"):
        if not cursor.space().sees("<function="):
            raise cursor.wrong("<function=")
        while cursor.sees("<function="):
            yield _function(cursor)
            cursor.space()
        cursor.take("</seed:tool_call>")
        cursor.space()


def _function(cursor: Cursor) -> RawCall:
    head = cursor.match(_FUNCTION)
    if head is None:
        raise NoCall(Reason.MALFORMED if ">" in cursor.text[cursor.at :] else Reason.TRUNCATED)
    tool = cursor.tool(head[1].strip())
    cursor.space()
    if cursor.next == "{":
        # Functionary 3.1: the same tag around JSON.
        read = cursor.value("</function>")
        cursor.space().take("</function>")
        return RawCall(tool.name, read.value, read.raw, steps=read.steps)
    return RawCall(tool.name, parameters(cursor, tool, _QWEN))


def _glm(cursor: Cursor) -> RawCall:
    head = cursor.match(_GLM_NAME)
    if head is None:
        raise NoCall(Reason.TRUNCATED if cursor.ended else Reason.MALFORMED)
    if cursor.next != "<":
        raise NoCall(Reason.TRUNCATED if cursor.ended else Reason.MALFORMED)
    tool = cursor.tool(head[1])
    arguments = parameters(cursor, tool, _GLM)
    return RawCall(tool.name, arguments)


def minimax(cursor: Cursor) -> Iterator[RawCall]:
    """MiniMax M2, and M3 with its prefix."""
    if M3_PREFIX in cursor.text:
        whole = cursor.text[cursor.at :].replace(M3_PREFIX, "")
        cut = next((size for size in range(len(M3_PREFIX) - 1, 0, -1) if whole.endswith(M3_PREFIX[:size])), 0)
        cursor.text, cursor.at = whole[: len(whole) - cut] if not cursor.final else whole, 0
    while cursor.sees("<minimax:tool_call>", _TOOL_CALL, "<invoke name="):
        cursor.take("<minimax:tool_call>", _TOOL_CALL)
        yield from _invokes(cursor, _INVOKE, _MINIMAX)
        cursor.take("</minimax:tool_call>", _TOOL_CALL_END)
        cursor.space()


def dsml(cursor: Cursor) -> Iterator[RawCall]:
    """DeepSeek V3.2 and V4."""
    cursor.take(*_DSML_SECTIONS)
    yield from _invokes(cursor, _DSML_INVOKE, _DSML)
    cursor.take(*_DSML_SECTION_ENDS)


def _invokes(cursor: Cursor, head: re.Pattern[str], markup: Markup) -> Iterator[RawCall]:
    start = head.pattern[:7]
    cursor.space()
    if not cursor.sees(start):
        raise cursor.wrong(start)
    while cursor.sees(start):
        found = cursor.match(head)
        if found is None:
            raise NoCall(Reason.MALFORMED if ">" in cursor.text[cursor.at + 8 :] else Reason.TRUNCATED)
        tool = cursor.tool(found[1])
        yield RawCall(tool.name, parameters(cursor, tool, markup))
        cursor.space()


def parameters(cursor: Cursor, tool: Tool, markup: Markup) -> dict[str, Any]:
    """The parameters up to the end of the call, which is passed. Raises NoCall."""
    cursor.space()
    if cursor.take(markup.end):
        return {}
    ends = _end(cursor, markup)
    if ends is not None:
        body = cursor.text[cursor.at : ends.start() + len(markup.closing)]
        cursor.at = ends.end()
    else:
        body = _unclosed(cursor, markup)
    return dict(_parameters(body, tool, markup))


def _end(cursor: Cursor, markup: Markup) -> re.Match[str] | None:
    """Where the call is over: calls that stand in its values are passed with their ends. Raises NoCall."""
    first, at, begun = None, cursor.at, 0
    ends = re.compile(rf"{re.escape(markup.closing)}\s*{re.escape(markup.end)}")
    for passed, match in enumerate(ends.finditer(cursor.text, cursor.at)):
        first = first or match
        begun += cursor.text.count(markup.head, at, match.start())
        at = match.end()
        if begun <= passed:
            return match
    if first is not None and (cursor.cut or not cursor.final):
        raise NoCall(Reason.TRUNCATED)
    # A value that only speaks of such calls.
    return first


def _unclosed(cursor: Cursor, markup: Markup) -> str:
    """The parameters of a call with a closer missing: complete only if one of the two closers is there."""
    if not cursor.final:
        _check_begun(cursor, markup)
    if not cursor.final or cursor.cut:
        raise NoCall(Reason.TRUNCATED)
    end = cursor.text.find(markup.end, cursor.at)
    if end >= 0:
        body = cursor.text[cursor.at : end]
        cursor.at = end + len(markup.end)
        return body
    last = cursor.text.rfind(markup.closing)
    if last < cursor.at:
        raise NoCall(Reason.TRUNCATED)
    body = cursor.text[cursor.at : last + len(markup.closing)]
    cursor.at += len(body)
    return body


def _check_begun(cursor: Cursor, markup: Markup) -> None:
    """Raises NoCall for what can be no parameter, whatever follows."""
    if cursor.ended or cursor.next == "<":
        return
    raise NoCall(Reason.MALFORMED)


def _parameters(body: str, tool: Tool, markup: Markup) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    at = 0
    while rest := body[at:].strip():
        at = len(body) - len(body[at:].lstrip())
        opening = markup.opening.match(body, at)
        if opening is None:
            raise NoCall(Reason.TRUNCATED if markup.opening.pattern[:2] == rest[:2] else Reason.MALFORMED)
        name = opening["name"].strip()
        if name in seen:
            raise NoCall(Reason.MALFORMED)
        seen.add(name)
        end, at = _value_end(body, opening.end(), tool, markup, seen)
        text = body[opening.end() : end]
        if markup.framed:
            text = text.removeprefix("\n").removesuffix("\n")
        is_text = opening.groupdict().get("text")
        yield name, text if is_text == "true" else typed(tool, name, text)


def _value_end(body: str, start: int, tool: Tool, markup: Markup, seen: set[str]) -> tuple[int, int]:
    """Where the value ends, and where the next parameter may begin."""
    closing = len(markup.closing)
    between = re.compile(rf"{re.escape(markup.closing)}\s*(?={markup.opening.pattern})")
    for match in between.finditer(body, start):
        sibling = markup.opening.match(body, match.end())
        name = sibling["name"].strip() if sibling else ""
        if name not in seen and (tool.declared is None or name in tool.declared):
            return match.start(), match.start() + closing
    last = body.rfind(markup.closing, start)
    return (last, last + closing) if last >= 0 else (len(body), len(body))

"""Grammars of JSON between marks: Mistral, DeepSeek, Kimi, Functionary, Llama 3, Granite 3, Command R7B and others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from roost.toolcalls.calls import calls_in
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.values import NoCall, RawCall, Reason

Grammar = Callable[[Cursor], Iterator[RawCall]]

_MISTRAL, _ARGS = "[TOOL_CALLS]", "[ARGS]"
_MISTRAL_NAME = re.compile(r"[^\s\[\]{}<>\"]+")
_CALL_ID = re.compile(r"\[CALL_ID\]\s*([^\s\[{]+)\s*")
_DEEPSEEK_SECTION = ("<｜tool▁calls▁begin｜>", "<|tool▁calls▁begin|>", "<｜tool_calls_begin｜>")
_DEEPSEEK_CALL = ("<｜tool▁call▁begin｜>", "<|tool▁call▁begin|>", "<｜tool_call_begin｜>")
_DEEPSEEK_NAME = re.compile(r"(?:function[<][｜|]tool[▁_]sep[｜|]>)?([^\s<`{]+)\s*(?:[<][｜|]tool[▁_]sep[｜|]>)?\s*")
_DEEPSEEK_SEPARATORS = ("<｜tool▁sep｜>", "<|tool▁sep|>", "<｜tool_sep｜>")
_DEEPSEEK_END = ("<｜tool▁call▁end｜>", "<|tool▁call▁end|>", "<｜tool_call_end｜>")
_DEEPSEEK_SECTION_END = ("<｜tool▁calls▁end｜>", "<|tool▁calls▁end|>", "<｜tool_calls_end｜>")
_KIMI_SECTION, _KIMI_CALL = "<|tool_calls_section_begin|>", "<|tool_call_begin|>"
_KIMI_ID = re.compile(r"\s*((?:functions\.)?([^\s<{:]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>\s*")
_FUNCTIONARY_ALL, _FUNCTIONARY = ">>>all\n", ">>>"
_FUNCTIONARY_NAME = re.compile(r">>>([^\s{]+)\n\s*")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n")
_LONGEST_HEAD = 160


def between(*openers: str, closers: tuple[str, ...] = ()) -> Grammar:
    """JSON values behind one of the openers, up to a closer that may be missing; `;` may stand between them."""

    def grammar(cursor: Cursor) -> Iterator[RawCall]:
        while cursor.take(*openers):
            cursor.space()
            if cursor.next not in ("{", "["):
                raise cursor.wrong("{")
            while cursor.next in ("{", "["):
                yield from calls_in(cursor.value(*closers))
                cursor.space().take(";")
                cursor.space()
            cursor.take(*closers)
            cursor.space()

    return grammar


def mistral(cursor: Cursor) -> Iterator[RawCall]:
    """All three dialects: a list, `name[ARGS]{…}`, and `name{…}`; the first mark may have been swallowed."""
    while cursor.take(_MISTRAL) or _ARGS in cursor.text[cursor.at : cursor.at + _LONGEST_HEAD]:
        cursor.space()
        if cursor.next in ("{", "["):
            yield from calls_in(cursor.value("[/TOOL_CALLS]"))
        else:
            yield _mistral_call(cursor)
        cursor.space().take("[/TOOL_CALLS]")
        cursor.space()


def _mistral_call(cursor: Cursor) -> RawCall:
    name = cursor.match(_MISTRAL_NAME)
    if name is None or cursor.ended:
        raise NoCall(Reason.TRUNCATED if cursor.ended else Reason.MALFORMED)
    tool = cursor.tool(name[0])
    id_ = cursor.space().match(_CALL_ID)
    cursor.take(_ARGS)
    cursor.space()
    if cursor.next != "{":
        raise cursor.wrong("{", _ARGS, "[CALL_ID]")
    read = cursor.value()
    return RawCall(tool.name, read.value, read.raw, id_[1] if id_ else None, read.steps)


def deepseek(cursor: Cursor) -> Iterator[RawCall]:
    """V3 and R1 with a fence inside, V3.1 without."""
    cursor.take(*_DEEPSEEK_SECTION)
    cursor.space()
    if not cursor.sees(*_DEEPSEEK_CALL):
        raise cursor.wrong(*_DEEPSEEK_CALL)
    while cursor.take(*_DEEPSEEK_CALL):
        head = cursor.space().match(_DEEPSEEK_NAME)
        if head is None or cursor.ended:
            raise NoCall(_unfinished(cursor))
        if cursor.next == "<":
            raise cursor.wrong(*_DEEPSEEK_SEPARATORS)
        tool = cursor.tool(head[1])
        cursor.match(_FENCE)
        if cursor.next not in ("{", "["):
            raise cursor.wrong("{", "```json\n")
        read = cursor.value("```", *_DEEPSEEK_END)
        if not cursor.space().take("```") and cursor.next == "`":
            raise cursor.wrong("```")
        cursor.space().take(*_DEEPSEEK_END)
        yield RawCall(tool.name, read.value, read.raw, steps=read.steps)
        cursor.space()
    cursor.take(*_DEEPSEEK_SECTION_END)


def _unfinished(cursor: Cursor) -> Reason:
    """Of a head that is not there yet: it may still come, unless the text is long."""
    return Reason.TRUNCATED if len(cursor.text) - cursor.at < _LONGEST_HEAD else Reason.MALFORMED


def kimi(cursor: Cursor) -> Iterator[RawCall]:
    """Kimi K2: the model's ids are kept, its template counts on them."""
    cursor.take(_KIMI_SECTION)
    cursor.space()
    if not cursor.sees(_KIMI_CALL):
        raise cursor.wrong(_KIMI_CALL)
    while cursor.take(_KIMI_CALL):
        head = cursor.match(_KIMI_ID)
        if head is None:
            raise NoCall(_unfinished(cursor))
        tool = cursor.tool(head[2])
        read = cursor.value("<|tool_call_end|>")
        cursor.space().take("<|tool_call_end|>")
        yield RawCall(tool.name, read.value, read.raw, head[1], read.steps)
        cursor.space()
    cursor.take("<|tool_calls_section_end|>")


def functionary(cursor: Cursor) -> Iterator[RawCall]:
    """Functionary 3.2: text for the reader under `all`, then a call under each name."""
    if cursor.take(_FUNCTIONARY_ALL):
        end = cursor.text.find("\n" + _FUNCTIONARY, cursor.at)
        if end < 0:
            raise NoCall(Reason.TRUNCATED)
        cursor.content.append(cursor.text[cursor.at : end])
        cursor.at = end + 1
    while cursor.sees(_FUNCTIONARY):
        head = cursor.match(_FUNCTIONARY_NAME)
        if head is None or cursor.ended:
            raise NoCall(_unfinished(cursor))
        tool = cursor.tool(head[1])
        read = cursor.value()
        yield RawCall(tool.name, read.value, read.raw, steps=read.steps)
        cursor.space()


llama = between("<|python_tag|>", closers=("<|eom_id|>", "<|eot_id|>"))
granite = between("<|tool_call|>")
command = between("<|START_ACTION|>", closers=("<|END_ACTION|>",))
nemotron = between("<TOOLCALL>", closers=("</TOOLCALL>",))
jamba = between("<tool_calls>", closers=("</tool_calls>",))
phi = between("functools")

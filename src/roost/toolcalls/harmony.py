"""gpt-oss' harmony: messages with a channel and a recipient. The header reader is tolerant: engines mangle headers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roost.toolcalls.cursor import Cursor
from roost.toolcalls.values import NoCall, RawCall, Reason

_LONGEST_HEADER = 256
_HEADER = re.compile(r"(?:<\|start\|>)?(?:assistant)?(?P<head>[^{]{0,200}?)(?:<\|message\|>|(?=\{))")
_RECIPIENT = re.compile(r"to=\s*([^\s<{]+)")
_CHANNEL = re.compile(r"analysis|commentary|final")
_BODY_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_PASSED = ("<|end|>", "<|return|>", "<|call|>")
_OPENERS = ("<|start|>", "<|channel|>", " to=functions.", "to=functions.")
#: The same with its tokens stripped: only as the entire message. Spaces are never given back (`*+`): between parts that
#: may all be missing, a message of line feeds would take minutes.
_STRIPPED = re.compile(
    r"\s*+(?:analysis(?P<thought>\S.*?)(?=assistant))?(?:assistant)?\s*+(?:commentary|analysis)?\s*+"
    r"to=(?P<name>functions\.[\w.-]++)\s*+(?:commentary|analysis)?\s*+(?:json|code)?\s*+(?=\{)",
    re.DOTALL,
)
_NEXT = ("assistantcommentary to=functions.", "commentary to=functions.", "to=functions.")
_THOUGHT = re.compile(r"analysis\S")


def harmony(cursor: Cursor) -> Iterator[RawCall]:
    """Messages to the end, the last of them a call. Raises NoCall."""
    called = False
    while cursor.space().sees(*_OPENERS):
        called = False
        header = cursor.match(_HEADER)
        if header is None:
            raise NoCall(Reason.TRUNCATED if len(cursor.text) - cursor.at < _LONGEST_HEADER else Reason.MALFORMED)
        recipient = _RECIPIENT.search(header["head"])
        if recipient is None:
            _say(cursor, header["head"])
            continue
        tool = cursor.tool(recipient[1])
        read = cursor.space().value("<|call|>", "<|end|>")
        called = True
        yield RawCall(tool.name, read.value, read.raw, steps=read.steps)
        cursor.space().take(*_PASSED)
    if not called:
        raise NoCall(Reason.TRUNCATED if cursor.ended else Reason.MALFORMED)


def _say(cursor: Cursor, head: str) -> None:
    """A message to nobody: a thought, or text for the reader."""
    end = _BODY_END.search(cursor.text, cursor.at)
    body = cursor.text[cursor.at : end.start() if end else len(cursor.text)]
    cursor.at += len(body)
    cursor.take(*_PASSED)
    channel = _CHANNEL.search(head)
    (cursor.reasoning if channel and channel.group() == "analysis" else cursor.content).append(body)


def stripped(cursor: Cursor) -> Iterator[RawCall]:
    """Without its special tokens. Raises NoCall."""
    called = False
    while head := cursor.match(_STRIPPED):
        if head["thought"]:
            cursor.reasoning.append(head["thought"])
        tool = cursor.tool(head["name"])
        read = cursor.value()
        called = True
        yield RawCall(tool.name, read.value, read.raw, steps=("stripped_tokens", *read.steps))
        cursor.space()
    rest = cursor.text[cursor.at :].lstrip()
    if called and not any(rest.startswith(word[: len(rest)]) for word in _NEXT if rest):
        return
    raise NoCall(Reason.TRUNCATED if called or (not cursor.final and _may_go_on(rest)) else Reason.MALFORMED)


def _may_go_on(rest: str) -> bool:
    if "analysis".startswith(rest[:8]) and len(rest) <= 8:
        return True
    return _THOUGHT.match(rest) is not None or (len(rest) < _LONGEST_HEADER and "{" not in rest)

"""Messages of an OpenAI chat as Anthropic's turns. Pure.

What is said before the first turn is the system text; results of calls go to the user's turn behind them, each answered
in the very next turn; turns of one role in a row are one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from roost.errors import InvalidType, Refused

_SYSTEM = frozenset({"system", "developer"})
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:(?P<kind>[^;,]+);base64,(?P<data>.*)", re.DOTALL)
Blocks = list[dict[str, Any]]


def messages_of(given: object) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the turns. Raises InvalidType, Refused."""
    if not isinstance(given, list) or not all(isinstance(message, Mapping) for message in given):
        raise InvalidType("`messages` must be an array of messages", param="messages")
    system: list[str] = []
    turns: list[tuple[str, Blocks]] = []
    for message in given:
        role = message.get("role")
        if role in _SYSTEM and not turns:
            system += [block["text"] for block in _parts(message.get("content")) if block["type"] == "text"]
        else:
            _add(turns, *_turn(role, message))
    _end_without_blanks(turns)
    return "\n\n".join(system), [{"role": role, "content": _short(blocks)} for role, blocks in turns if blocks]


def _turn(role: object, message: Mapping[str, Any]) -> tuple[str, Blocks]:
    match role:
        case "user" | "system" | "developer":
            return "user", list(_parts(message.get("content")))
        case "assistant":
            calls = message.get("tool_calls") or ()
            return "assistant", [*_parts(message.get("content")), *(_call(call) for call in calls)]
        case "tool":
            return "user", [_result(message)]
    raise InvalidType(
        'the `role` of a message must be "system", "developer", "user", "assistant" or "tool"', param="messages"
    )


def _add(turns: list[tuple[str, Blocks]], role: str, blocks: Blocks) -> None:
    if not blocks:
        return
    if turns and turns[-1][0] == role:
        turns[-1][1].extend(blocks)
    else:
        turns.append((role, blocks))


def _end_without_blanks(turns: list[tuple[str, Blocks]]) -> None:
    """Anthropic goes on with the model's own last words, and refuses blanks at their end."""
    if turns and turns[-1][0] == "assistant" and turns[-1][1][-1]["type"] == "text":
        turns[-1][1][-1]["text"] = turns[-1][1][-1]["text"].rstrip()


def _short(blocks: Blocks) -> Any:
    """One text as a string."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _parts(content: object) -> Iterator[dict[str, Any]]:
    """Blocks of a content; texts of blanks alone are left out, which Anthropic refuses."""
    if content is None:
        return
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Iterable):
        raise InvalidType("`content` must be a string or an array of parts", param="messages")
    for part in content:
        block = _block(part)
        if block["type"] != "text" or block["text"].strip():
            yield block


def _block(part: object) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return {"type": "image", "source": _source(url)}
        case {"type": "file", "file": {"file_data": str(data)}} if found := _DATA_URL.fullmatch(data):
            source = {"type": "base64", "media_type": found["kind"], "data": found["data"]}
            return {"type": "document", "source": source}
    kind = part.get("type") if isinstance(part, Mapping) else None
    raise Refused(f"a cloud that speaks Anthropic Messages takes no part of type {str(kind)[:40]!r}", param="messages")


def _source(url: str) -> dict[str, Any]:
    if found := _DATA_URL.fullmatch(url):
        return {"type": "base64", "media_type": found["kind"], "data": found["data"]}
    return {"type": "url", "url": url}


def _call(call: object) -> dict[str, Any]:
    match call:
        case {"id": str(call_id), "function": {"name": str(name), **function}}:
            return {"type": "tool_use", "id": _id(call_id), "name": name, "input": _input(function.get("arguments"))}
    raise InvalidType("each of `tool_calls` needs an id and a function with a name", param="messages")


def _input(arguments: object) -> dict[str, Any]:
    """The arguments as an object; what a model wrote that is none is kept as its text."""
    if not arguments:
        return {}
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        given = None
    return given if isinstance(given, dict) else {"arguments": str(arguments)}


def _result(message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(call_id := message.get("tool_call_id"), str):
        raise InvalidType("a message of role tool needs its `tool_call_id`", param="messages")
    blocks = list(_parts(message.get("content")))
    result = {"type": "tool_result", "tool_use_id": _id(call_id)}
    return {**result, "content": _short(blocks)} if blocks else result


def _id(given: str) -> str:
    """As Anthropic takes it; other engines write dots and worse."""
    return _NOT_IN_IDS.sub("_", given) or "call"

"""Turns of an Anthropic conversation as OpenAI's messages. Pure.

One turn of theirs may be several messages of ours: each tool result is a message, and stands before what the user says
beside it. Turns of one role in a row are one message, as Anthropic's own service has it; many chat templates refuse
anything else. A system text in the middle of a conversation goes to the user's turn that it stands at: most templates
take one only at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from roost.errors import InvalidType, Refused
from roost.gateway.splice import quick_literal

_SYSTEM = frozenset({"system", "developer"})


class Turns:
    """Messages as they are made, and the kinds of blocks that were left out."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ignored: set[str] = set()

    def begin(self, system: object) -> None:
        """The `system` of the request: a text or blocks of text."""
        if texts := list(_texts_of(system, "system")):
            self.messages.append({"role": "system", "content": "\n\n".join(texts)})

    def add(self, turn: object) -> None:
        """Raises InvalidType, Refused."""
        if not isinstance(turn, dict):
            raise InvalidType("each of `messages` must be an object", param="messages")
        role, content = turn.get("role"), turn.get("content")
        if role in _SYSTEM:
            self._add_system(content)
        elif role == "assistant":
            self._add_answer(_blocks(content))
        elif role == "user":
            self._add_question(_blocks(content))
        else:
            raise InvalidType('the `role` of a message must be "user", "assistant" or "system"', param="messages")

    def _add_system(self, content: object) -> None:
        text = "\n\n".join(_texts_of(content, "messages"))
        if not self.messages:
            self.messages.append({"role": "system", "content": text})
        elif self.messages[-1]["role"] == "system":
            self.messages[-1]["content"] += f"\n\n{text}"
        else:
            self._say([{"type": "text", "text": text}])

    def _add_question(self, blocks: list[Mapping[str, Any]]) -> None:
        said: list[dict[str, Any]] = []
        for block in blocks:
            if block.get("type") == "tool_result":
                said += self._add_result(block)
            else:
                said += self._parts(block)
        if said or not blocks:
            self._say(said)

    def _add_result(self, block: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The result as a message of its own; what it holds besides text is said by the user behind it."""
        content, call_id = block.get("content") or "", block.get("tool_use_id")
        parts: list[dict[str, Any]] = []
        text = content
        if not isinstance(content, str):
            parts = [part for one in _blocks(content) for part in self._parts(one)]
            text = "\n".join([part["text"] for part in parts if part["type"] == "text"])
        if not isinstance(call_id, str):
            raise InvalidType("a tool_result needs its `tool_use_id`", param="messages")
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        return [part for part in parts if part["type"] != "text"]

    def _say(self, parts: list[dict[str, Any]]) -> None:
        """By the user, in the turn that is there or in a new one."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "user":
            parts = [*_as_parts(last["content"]), *parts]
            self.messages.pop()
        self.messages.append({"role": "user", "content": _joined(parts)})

    def _add_answer(self, blocks: list[Mapping[str, Any]]) -> None:
        texts, thoughts, calls = [], [], []
        for block in blocks:
            match block.get("type"):
                case "text":
                    texts.append(_text(block, "text"))
                case "thinking":
                    thoughts.append(_text(block, "thinking"))
                case "tool_use":
                    calls.append(_call(block))
                case kind:
                    self._leave_out(kind)
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "assistant":
            self.messages.pop()
            texts = [last["content"], *texts] if last["content"] else texts
            thoughts = [last["reasoning_content"], *thoughts] if "reasoning_content" in last else thoughts
            calls = [*last.get("tool_calls", ()), *calls]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
        if thoughts:
            message["reasoning_content"] = "\n".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        self.messages.append(message)

    def _parts(self, block: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A block of a user's turn or of a result as parts of a message. Raises Refused for what nobody here reads."""
        match block.get("type"):
            case "text":
                return [{"type": "text", "text": _text(block, "text")}]
            case "image":
                return [{"type": "image_url", "image_url": {"url": _image_url(block.get("source"))}}]
            case "document":
                return [{"type": "text", "text": _document_text(block)}]
            case "search_result":
                return [{"type": "text", "text": text} for text in _texts_of(block.get("content"), "messages")]
            case kind:
                self._leave_out(kind)
                return []

    def _leave_out(self, kind: object) -> None:
        """Raises InvalidType for a block that says nothing about itself."""
        if not isinstance(kind, str):
            raise InvalidType("each block of `content` needs a `type`", param="messages")
        self.ignored.add(kind)


def _blocks(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise InvalidType("`content` must be a string or an array of blocks", param="messages")
    for block in content:
        if not isinstance(block, dict):
            raise InvalidType("`content` must be a string or an array of blocks", param="messages")
    return content


def _texts_of(value: object, param: str) -> Iterator[str]:
    """The texts of a string, or of blocks of text."""
    if value is None or value == "":
        return
    if isinstance(value, str):
        yield value
        return
    if not isinstance(value, list):
        raise InvalidType(f"`{param}` must be a string or blocks of text", param=param)
    for block in value:
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            raise InvalidType(f"each block of `{param}` must be a text", param=param)
        yield block["text"]


def _text(block: Mapping[str, Any], key: str) -> str:
    text = block.get(key)
    if not isinstance(text, str):
        raise InvalidType(f"a block of type {block.get('type')} needs its `{key}`", param="messages")
    return text


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    name, call_id, given = block.get("name"), block.get("id"), block.get("input")
    if not isinstance(name, str) or not isinstance(call_id, str):
        raise InvalidType("a tool_use needs its `id` and its `name`", param="messages")
    arguments = given if isinstance(given, str) and given else quick_literal(given or {})
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _image_url(source: object) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
    raise Refused("cannot read this image: send its base64 with its media_type", param="messages")


def _document_text(block: Mapping[str, Any]) -> str:
    match block.get("source"):
        case {"type": "text", "data": str(text)}:
            return text
        case {"type": "content", "content": content}:
            return "\n\n".join(_texts_of(content, "messages"))
    raise Refused("cannot read this document: only its text can be sent, as source.type text", param="messages")


def _as_parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _joined(parts: list[dict[str, Any]]) -> Any:
    """Text alone as a string, which every template takes; else the parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts

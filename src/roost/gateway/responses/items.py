"""Input items of a response as messages of a chat. Pure.

What stands beside each other in one answer (a thought, a text, calls) are items of their own there and one message
here. An instruction in the middle of a conversation goes to the user's turn that it stands at: most templates take one
only at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from roost.errors import InvalidType, Refused
from roost.gateway.splice import quick_literal

_SYSTEM = frozenset({"system", "developer"})
_TEXT_KINDS = frozenset({"input_text", "output_text", "text", "refusal"})


class Items:
    """Messages as they are made, and the kinds of items that were left out."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ignored: set[str] = set()

    def instruct(self, text: object) -> None:
        """`instructions` of the request."""
        if text is None or text == "":
            return
        if not isinstance(text, str):
            raise InvalidType("`instructions` must be a string", param="instructions")
        self.messages.append({"role": "system", "content": text})

    def add(self, item: object) -> None:
        """Raises InvalidType, Refused."""
        if not isinstance(item, dict):
            raise InvalidType("each item of `input` must be an object", param="input")
        match item.get("type", "message"):
            case "message":
                self._add_message(item)
            case "function_call":
                self._answer()["tool_calls"] = [*self._answer().get("tool_calls", ()), _call(item)]
            case "function_call_output":
                self._add_result(item)
            case "reasoning":
                self._add_thought(item)
            case "item_reference":
                raise Refused("cannot look up an item: nothing is stored here; send the item itself", param="input")
            case kind if isinstance(kind, str):
                self.ignored.add(kind)
            case _:
                raise InvalidType("the `type` of an item must be a string", param="input")

    def _add_message(self, item: Mapping[str, Any]) -> None:
        role, content = item.get("role"), item.get("content")
        if role in _SYSTEM:
            self._add_instruction(_text_of(content))
        elif role == "assistant":
            answer = self._answer()
            answer["content"] += _text_of(content)
        elif role == "user":
            self._say(_parts(content))
        else:
            raise InvalidType('the `role` of a message must be "user", "assistant" or "developer"', param="input")

    def _add_instruction(self, text: str) -> None:
        if not self.messages:
            self.messages.append({"role": "system", "content": text})
        elif self.messages[-1]["role"] == "system":
            self.messages[-1]["content"] += f"\n\n{text}"
        else:
            self._say([{"type": "text", "text": text}])

    def _say(self, parts: list[dict[str, Any]]) -> None:
        """By the user, in the turn that is there or in a new one."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "user":
            had = last["content"]
            parts = [*([{"type": "text", "text": had}] if isinstance(had, str) else had), *parts]
            self.messages.pop()
        self.messages.append({"role": "user", "content": _joined(parts)})

    def _answer(self) -> dict[str, Any]:
        """The answer that is being put together."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        return self.messages[-1]

    def _add_thought(self, item: Mapping[str, Any]) -> None:
        """Before what it led to. One that only its own service can read tells nothing here."""
        texts = [text for key in ("content", "summary") for text in _plain_texts(item.get(key))]
        if not texts:
            self.ignored.update({"reasoning"} if item.get("encrypted_content") else ())
            return
        answer = self._answer()
        before = [answer["reasoning_content"]] if "reasoning_content" in answer else []
        answer["reasoning_content"] = "\n".join([*before, *texts])

    def _add_result(self, item: Mapping[str, Any]) -> None:
        call_id, output = item.get("call_id"), item.get("output")
        if not isinstance(call_id, str):
            raise InvalidType("a function_call_output needs its `call_id`", param="input")
        parts = [{"type": "text", "text": output}] if isinstance(output, str) else _parts(output)
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        if pictures := [part for part in parts if part["type"] != "text"]:
            self._say(pictures)


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    name, call_id, arguments = item.get("name"), item.get("call_id"), item.get("arguments")
    if not isinstance(name, str) or not isinstance(call_id, str):
        raise InvalidType("a function_call needs its `call_id` and its `name`", param="input")
    text = arguments if isinstance(arguments, str) else quick_literal(arguments or {})
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _parts(content: object) -> list[dict[str, Any]]:
    """Raises InvalidType, Refused."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise InvalidType("`content` must be a string or an array of parts", param="input")
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXT_KINDS:
        text = part.get("refusal" if kind == "refusal" else "text")
        if not isinstance(text, str):
            raise InvalidType(f"a part of type {kind} needs its text", param="input")
        return {"type": "text", "text": text}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    raise Refused(
        f"cannot read a part of type {str(kind)[:40]!r}: texts and images as data: URLs are read here", param="input"
    )


def _text_of(content: object) -> str:
    parts = _parts(content)
    if any(part["type"] != "text" for part in parts):
        raise Refused("only a user's message may hold an image", param="input")
    return "".join(part["text"] for part in parts)


def _plain_texts(parts: object) -> Iterable[str]:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str) and part["text"]:
            yield part["text"]


def _joined(parts: list[dict[str, Any]]) -> Any:
    """Text alone as a string, which every template takes; else the parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts

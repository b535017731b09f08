"""Messages of Ollama's chat as OpenAI's: images become parts, tool calls get text arguments and ids. Pure."""

from __future__ import annotations

from typing import Any

from roost.errors import InvalidType
from roost.gateway.splice import literal

#: How the base64 of an image begins, by its kind: only bytes travel, the kind is in them.
_IMAGE_STARTS = {"iVBOR": "png", "/9j/": "jpeg", "R0lG": "gif", "UklG": "webp", "Qk": "bmp"}


def openai_messages(given: object) -> list[dict[str, Any]]:
    """Raises InvalidType for anything that is no list of messages."""
    if not isinstance(given, list):
        raise InvalidType("`messages` must be an array of messages", param="messages")
    calls = _Calls()
    return [_message(message, calls) for message in given]


def content_of(text: object, images: object) -> Any:
    """The text alone, or text and images as parts. Raises InvalidType."""
    if not images:
        return text
    if not isinstance(images, list):
        raise InvalidType("`images` must be an array of base64 strings", param="images")
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
    return [{"type": "text", "text": text}, *parts] if text else parts


class _Calls:
    """Ollama's protocol matches tool results by name and order; templates want ids."""

    def __init__(self) -> None:
        self._made = 0
        #: Calls without a result yet: id and name.
        self._open: list[tuple[str, str]] = []

    def openai(self, call: object) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise InvalidType("each of `tool_calls` must be an object with a `function`", param="messages")
        self._made += 1
        # Nine letters and digits: Mistral's templates refuse any other id.
        call_id = str(call.get("id") or f"call{self._made:05d}")
        name, arguments = str(function.get("name") or ""), function.get("arguments")
        self._open.append((call_id, name))
        text = arguments if isinstance(arguments, str) else literal(arguments or {})
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}

    def answered(self, name: object) -> str | None:
        """The id of the oldest open call of this name, else of the oldest one."""
        found = next((one for one in self._open if one[1] == name), next(iter(self._open), None))
        if found is None:
            return None
        self._open.remove(found)
        return found[0]


def _message(given: object, calls: _Calls) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidType("each of `messages` must be an object", param="messages")
    message = {"role": given.get("role"), "content": content_of(given.get("content") or "", given.get("images"))}
    if thinking := given.get("thinking"):
        message["reasoning_content"] = thinking
    if made := given.get("tool_calls"):
        message["tool_calls"] = [calls.openai(call) for call in made] if isinstance(made, list) else made
    if message["role"] == "tool":
        message |= _tool_result(given, calls)
    return message


def _tool_result(given: dict[str, Any], calls: _Calls) -> dict[str, Any]:
    name = given.get("tool_name") or given.get("name")
    call_id = given.get("tool_call_id") or calls.answered(name)
    return {key: value for key, value in (("name", name), ("tool_call_id", call_id)) if value}


def _data_url(image: object) -> str:
    if not isinstance(image, str):
        raise InvalidType("each of `images` must be a base64 string", param="images")
    if image.startswith("data:"):
        return image
    for start, kind in _IMAGE_STARTS.items():
        if image.startswith(start):
            return f"data:image/{kind};base64,{image}"
    kinds = ", ".join(_IMAGE_STARTS.values())
    raise InvalidType(f"each of `images` must be the base64 of a picture ({kinds})", param="images")

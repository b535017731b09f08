"""What of a request matters for where it may go, read from a body in any dialect. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Bytes of text a token, about: only thresholds that people write by hand are compared with it.
_BYTES_A_TOKEN = 4
_IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
#: Pictures as base64, by how their formats begin; anything else that says it is one is looked at as text.
_PICTURE = re.compile(
    r"(?:data:image/[\w.+-]{1,40};base64,)?(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk0|SUkq|TU0A|AAAA.{0,6}ZnR5c)"
    r"[A-Za-z0-9+/\r\n]*={0,2}\s*"
)


def texts(value: object) -> Iterator[str]:
    """Every string in a body, names of members too: wherever a client hides its text, it is text. Pictures are left
    out; they hold no words."""
    if isinstance(value, str):
        if not _PICTURE.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def written_texts(text: str) -> Iterator[str]:
    """The same of JSON that was not read yet, with whatever stands under a key that stands again behind it: the bytes
    are sent on as they came, and readers disagree on which one counts."""
    return texts(json.loads(text, object_pairs_hook=_all_of))


def _all_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    return read if len(read) == len(pairs) else {"": [[key, value] for key, value in pairs]}


def prompt_tokens(values: Mapping[str, Any]) -> int:
    """About so many tokens does the prompt have, tools included."""
    return sum(len(text) for text in texts(values)) // _BYTES_A_TOKEN


def has_tools(values: Mapping[str, Any]) -> bool:
    return bool(values.get("tools"))


def has_images(values: Mapping[str, Any]) -> bool:
    """In the shapes of OpenAI, Anthropic, Responses and Ollama."""
    return any(_has_image(values.get(key)) for key in ("messages", "input", "images"))


def _has_image(value: object) -> bool:
    if isinstance(value, list):
        return any(_has_image(inner) for inner in value)
    if not isinstance(value, Mapping):
        return False
    if value.get("type") in _IMAGE_TYPES or value.get("images"):
        return True
    return any(_has_image(inner) for key, inner in value.items() if key in ("content", "output"))

"""What of a request matters for where it may go, read from a body in any dialect. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Bytes of text a token, about: only thresholds that people write by hand are compared with it.
_BYTES_A_TOKEN = 4
#: JSON in JSON in JSON.
_DEEPEST_ESCAPES = 3
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}
_IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
_IMAGE_DATA = "data:image/"


def texts(value: object) -> Iterator[str]:
    """Every string in a body, names of members too: wherever a client hides its text, it is text. Images are left
    out; they hold no words."""
    if isinstance(value, str):
        if not value.startswith(_IMAGE_DATA):
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            if key == "data" and str(value.get("media_type")).startswith("image/"):
                continue
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def searchable(value: object) -> Iterator[str]:
    """The same for who looks for something in them. A text that holds escapes, such as JSON in a string or a line of
    code, comes once more as what it says: a key behind `\\n` begins at its own first letter."""
    for text in texts(value):
        yield text
        for _ in range(_DEEPEST_ESCAPES):
            if "\\" not in text:
                break
            text = _ESCAPE.sub(_said, text)
            yield text


def _said(escape: re.Match[str]) -> str:
    letter = escape[1]
    return chr(int(letter[1:], 16)) if len(letter) > 1 else _LETTERS.get(letter, letter)


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

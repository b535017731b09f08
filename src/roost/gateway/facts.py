"""What of a request matters for where it may go, read from a body in any dialect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Bytes of text a token, about: only thresholds that people write by hand are compared with it.
_BYTES_A_TOKEN = 4
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

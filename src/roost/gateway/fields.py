"""What a request body must have and must not have, before anything is asked of a worker. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, MissingParameter, Refused

#: Fields that reach native code, files or templates of an engine.
DENIED_FIELDS = ("n_discard", "id_slot", "lora", "grammar", "chat_template", "prompt_embeds")
#: Numbers that size the work of one request, with the least and the most that is let through.
BOUNDED_NUMBERS: Mapping[str, tuple[int, int]] = {
    "n": (1, 16),
    "best_of": (1, 16),
    # -1 is llama.cpp's "until the end"; the generation cap holds it.
    "max_tokens": (-1, 2**20),
    "max_completion_tokens": (-1, 2**20),
    "n_predict": (-1, 2**20),
    "max_output_tokens": (-1, 2**20),
    "top_logprobs": (0, 20),
    "n_probs": (0, 20),
    "dimensions": (1, 65536),
}
_MOST_MESSAGES = 10_000
_MOST_TEMPLATE_ARGUMENTS = 32


@dataclass(frozen=True)
class Required:
    """A member that a route cannot do without."""

    key: str
    kinds: tuple[type, ...]
    shown: str


REQUIRED: Mapping[str, tuple[Required, ...]] = {
    "chat": (Required("messages", (list,), "an array of messages"),),
    "completions": (Required("prompt", (str, list), "a string or an array"),),
    "embeddings": (Required("input", (str, list), "a string or an array"),),
    "rerank": (Required("query", (str,), "a string"), Required("documents", (list,), "an array")),
}


def check_fields(surface: str, values: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Raises MissingParameter, InvalidType or Refused, each naming the field."""
    for required in REQUIRED.get(surface, ()):
        _check_required(required, values)
    check_denied(values, allowed)
    check_bounds(values)
    if (stream := values.get("stream")) is not None and not isinstance(stream, bool):
        raise InvalidType("`stream` must be true or false", param="stream")
    _check_logprobs(values.get("logprobs"))
    _check_template_arguments(values.get("chat_template_kwargs"))
    if surface == "chat":
        _check_messages(values["messages"])


def check_denied(values: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Raises Refused for a field that reaches native code, files or templates and is not allowed by the settings."""
    for key in DENIED_FIELDS:
        if key in values and key not in allowed:
            raise Refused(
                f"cannot pass on `{key}`: it reaches native code, files or templates of the engine; leave it out, "
                f'or let it through with gateway.allow_fields = ["{key}"]',
                param=key,
            )


def check_bounds(values: Mapping[str, Any]) -> None:
    """Raises InvalidType or Refused for a number that sizes the work and is none, or out of bounds."""
    for key in values.keys() & BOUNDED_NUMBERS.keys():
        if (value := values[key]) is not None:
            _check_number(key, value, *BOUNDED_NUMBERS[key])


def _check_required(required: Required, values: Mapping[str, Any]) -> None:
    value = values.get(required.key)
    if value is None:
        raise MissingParameter(f"`{required.key}` is missing; it must be {required.shown}", param=required.key)
    if not isinstance(value, required.kinds):
        raise InvalidType(f"`{required.key}` must be {required.shown}", param=required.key)


def _check_number(key: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(f"`{key}` must be a whole number", param=key)
    if not least <= value <= most:
        raise Refused(f"`{key}` must be from {least} to {most}", param=key)


def _check_logprobs(value: object) -> None:
    """A switch in chat, a number in completions."""
    if value is not None and not isinstance(value, bool):
        _check_number("logprobs", value, 0, 20)


def _check_template_arguments(value: object) -> None:
    key = "chat_template_kwargs"
    if value is None:
        return
    if not isinstance(value, dict):
        raise InvalidType(f"`{key}` must be an object", param=key)
    if len(value) > _MOST_TEMPLATE_ARGUMENTS or any(isinstance(one, dict | list) for one in value.values()):
        raise Refused(
            f"`{key}` takes at most {_MOST_TEMPLATE_ARGUMENTS} arguments without objects or arrays", param=key
        )


def _check_messages(messages: list[Any]) -> None:
    if len(messages) > _MOST_MESSAGES:
        raise Refused(f"`messages` may hold at most {_MOST_MESSAGES} messages", param="messages")
    if not all(isinstance(message, dict) for message in messages):
        raise InvalidType("each of `messages` must be an object", param="messages")


def _parts(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def check_images(values: Mapping[str, Any], model_id: str, sees: bool) -> None:
    """Images must be data: URLs, and the model must see. Raises Refused; a remote URL is never fetched."""
    messages = values.get("messages")
    for part in _parts(messages) if isinstance(messages, list) else ():
        if "image_url" not in part and part.get("type") != "image_url":
            continue
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str) or not url[:5].lower() == "data:":
            raise Refused(
                "cannot take this image: only data: URLs are read, remote ones are never fetched; "
                "send the image itself as data:image/png;base64,…",
                param="messages",
            )
        if not sees:
            raise Refused(
                f"{model_id} cannot see images: it has no vision part; choose a model with the capability vision "
                'in "roost models list"',
                param="messages",
            )


def prompt_texts(surface: str, values: Mapping[str, Any]) -> list[str]:
    """The texts of the prompt, for sizes and for keeping them out of error messages."""
    if surface in ("chat", "messages"):
        return list(_chat_texts(values.get("messages") or ()))
    keys = {"completions": ("prompt",), "embeddings": ("input",), "rerank": ("query", "documents")}
    return [text for key in keys.get(surface, ()) for text in _strings(values.get(key))]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


def _chat_texts(messages: Any, keep: Callable[[dict[str, Any]], bool] = lambda message: True) -> Iterator[str]:
    for message in messages:
        if not keep(message):
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (
                part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )


def _sent_by_client(message: dict[str, Any]) -> bool:
    # Templates drop parts of earlier assistant turns (their reasoning), so those prove nothing.
    return message.get("role") != "assistant"


def least_prompt_bytes(surface: str, values: Mapping[str, Any]) -> int:
    """UTF-8 bytes that certainly reach the model in one sequence: a lower bound for the context check.

    Templates may trim white space and drop assistant turns; several inputs are several sequences.
    """
    if surface == "chat":
        return sum(_size(text.strip()) for text in _chat_texts(values["messages"], _sent_by_client))
    return max((_size(text.strip()) for text in prompt_texts(surface, values)), default=0)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""Arguments of calls that a client sends back with a conversation: what a model wrote once stays in it for ever, and
chat templates and engines refuse every later request over arguments that are not the text of a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from roost.toolcalls.literal import dumped, read_value
from roost.toolcalls.values import NoCall

#: The one member of an object that stands for arguments that cannot be read: its value is their text.
UNREAD = "_unparsed"


@dataclass(frozen=True)
class Replayed:
    """The text of a JSON object, and what was done to come to it; never values."""

    arguments: str
    steps: tuple[str, ...]


def replayed(arguments: Any, raw: str) -> Replayed | None:
    """The arguments as every engine reads them; `raw` is their own JSON text. None: they are so already.

    Nothing is lost: what cannot be read without a guess is kept as text, in an object.
    """
    if isinstance(arguments, dict):
        return Replayed(raw, ("encoded",))
    if arguments is None:
        return Replayed("{}", ("empty",))
    if not isinstance(arguments, str):
        return _unread(raw)
    if not arguments.strip():
        return Replayed("{}", ("empty",))
    value = _strict(arguments)
    if isinstance(value, dict):
        return None
    if isinstance(value, str):
        return _inner(value) or _unread(arguments)
    return _near(arguments) or _unread(arguments)


def _inner(text: str) -> Replayed | None:
    """One layer of encoding is taken off, and an object must lie below."""
    near = Replayed(text, ()) if isinstance(_strict(text), dict) else _near(text)
    return near and Replayed(near.arguments, ("decoded", *near.steps))


def _near(text: str) -> Replayed | None:
    """An object that is nearly JSON, by the lossless steps for calls."""
    word = text.strip()
    try:
        read = read_value(word, 0)
        if read.end != len(word) or not isinstance(read.value, dict):
            return None
        return Replayed(read.raw or dumped(read.value), read.steps)
    except NoCall:
        return None


def _unread(text: str) -> Replayed:
    kept: Mapping[str, str] = {UNREAD: text}
    return Replayed(dumped(kept), ("unparsed",))


def _strict(text: str) -> Any:
    """Its value as JSON without NaN; None when it is none. A key that stands twice is the engine's affair."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(literal: str) -> NoReturn:
    raise ValueError(literal)

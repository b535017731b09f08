"""Which candidate served a conversation before: its next turn goes there again, where its prompt is cached."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_CONVERSATIONS = 4096
#: Behind it a cache has probably gone to somebody else.
_WARM_S = 900.0
#: Headers in which clients name a conversation; the first one that is there counts.
_HEADERS = ("x-conversation-id", "x-session-id", "x-session-affinity")
#: What stands in front of every turn of a conversation, in the words of each dialect.
_OPENINGS = ("system", "instructions", "prompt_cache_key")
_TURNS = ("messages", "input")
#: Of an opening so many characters tell conversations apart.
_TELLING_CHARACTERS = 16_384


@dataclass
class Affinity:
    """The newest conversations of one gateway. Digests and labels only, in memory."""

    now: Callable[[], float] = time.monotonic
    _kept: OrderedDict[bytes, tuple[str, float]] = field(default_factory=OrderedDict)

    def of(self, conversation: bytes) -> str | None:
        """The candidate that served it last, not long ago."""
        label, at = self._kept.get(conversation, (None, 0.0))
        return label if self.now() - at < _WARM_S else None

    def keep(self, conversation: bytes, label: str) -> None:
        self._kept[conversation] = (label, self.now())
        self._kept.move_to_end(conversation)
        while len(self._kept) > _MOST_CONVERSATIONS:
            self._kept.popitem(last=False)


def conversation_of(owner: str, headers: Mapping[str, str], name: str, values: Mapping[str, Any]) -> bytes:
    """A digest of what stays the same from turn to turn: the client's own name for it, else how it begins."""
    named = next((headers[header] for header in _HEADERS if header in headers), None)
    opening = named if named is not None else _opening(values)
    return hashlib.sha256("\0".join((owner, name, opening)).encode("utf-8", "surrogatepass")).digest()


def _opening(values: Mapping[str, Any]) -> str:
    parts = [values.get(key) for key in _OPENINGS]
    for key in _TURNS:
        turns = values.get(key)
        if isinstance(turns, list):
            parts += _first_turns(turns)
    return json.dumps(parts, ensure_ascii=False)[:_TELLING_CHARACTERS]


def _first_turns(turns: list[Any]) -> list[Any]:
    """Everything up to the first word of the user."""
    for number, turn in enumerate(turns):
        if isinstance(turn, dict) and turn.get("role") == "user":
            return turns[: number + 1]
    return turns[:1]

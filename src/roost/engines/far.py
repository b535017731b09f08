"""A server elsewhere that is asked as a worker is: over a wire, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from roost.engines.wire import Poster


@dataclass(frozen=True)
class FarServer:
    """One that can be asked now."""

    #: As `x-roost-node` names it: a paired machine, or `cloud:NAME`.
    name: str
    session: aiohttp.ClientSession
    wire: Poster
    base_url: str
    #: What it is sent besides. Never logged.
    headers: Mapping[str, str] = field(repr=False)
    #: Which routes it serves: chat, completions, embeddings, rerank.
    surfaces: frozenset[str]
    #: The field in which it reads how many tokens may be generated.
    max_tokens_field: str = "max_tokens"
    #: Silence before the first byte, and between two, after which it is given up; None: as long as it takes.
    first_byte_s: float | None = None
    idle_s: float | None = None
    #: Its machine was asked meanwhile and does not answer: what is silent now will stay so.
    is_away: Callable[[], bool] = lambda: False

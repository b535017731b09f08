"""A request that leaves this machine, in the shape of one that stays: a ticket and a worker elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from roost.catalog.spec import ModelSpec
from roost.errors import CloudRefused, NodeUnreachable, RoostError, UpstreamDisconnected, UpstreamStalled
from roost.gateway.splice import REMOVED
from roost.workers.types import (
    Content,
    EngineTraits,
    FarServer,
    Phase,
    Posted,
    Poster,
    Progress,
    ReadyWorker,
)

#: Nothing came for so long from a machine that is away: before the first byte somebody else may serve; within an answer
#: the machine may only be too busy to say how it stands.
_AWAY_BEFORE_S, _AWAY_WITHIN_S = 0.5, 10.0
_LOOK_S = 0.5
#: As long as the official SDKs wait for a provider.
_WHOLE_ANSWER_S = 600.0
#: A provider that answers so is overloaded, or broken. A paired machine says of one model that it cannot serve now, and
#: is there for all others.
_FAILED_STATUSES = frozenset({429, *range(500, 600)})


@dataclass(frozen=True)
class Far:
    """Where one request goes that leaves."""

    #: As `x-roost-node` names it: a paired machine, or `cloud:NAME`.
    name: str
    is_cloud: bool
    reach: Callable[[], Awaitable[FarServer]]
    #: True: it failed.
    note: Callable[[bool], None]
    #: How long a machine may take to come up, or a connection to be made.
    max_wait_s: float
    #: How long its silence may last before the first byte of an answer.
    first_byte_s: float


class FarTicket:
    """See `workers.types.Ticket`. There is no line here: whoever is elsewhere keeps its own."""

    def __init__(self, far: Far, spec: ModelSpec, *, is_stream: bool) -> None:
        self._far, self._spec, self._is_stream = far, spec, is_stream
        self._why = ""
        self._fresh = True

    def progress(self) -> Progress:
        return Progress(Phase.READY)

    async def worker(self) -> ReadyWorker:
        far = self._far
        try:
            async with asyncio.timeout(far.max_wait_s):
                server = await far.reach()
        except TimeoutError:
            raise NodeUnreachable(
                f"{far.name} did not come up within {far.max_wait_s:g} s (queue.max_wait_s)", retry_after_s=5
            ) from None
        if not self._is_stream:
            # The first byte of a whole answer is there when all of it is.
            server = replace(server, first_byte_s=_WHOLE_ANSWER_S if far.is_cloud else None)
        return _worker(far, server, self._spec)

    def beat(self, tokens: int = 1) -> None:
        """Its silence has a clock of its own."""

    def on_revoked(self, told: Callable[[RoostError], None] | None) -> None:
        """Nothing here is cancelled for memory."""

    def overdue(self) -> bool:
        return False

    async def failed(self, error: Exception) -> bool:
        # A connection that was kept may have been closed in the moment it was used again; a paid request is not
        # risked twice.
        again = self._fresh and not self._far.is_cloud and isinstance(error, aiohttp.ServerDisconnectedError)
        self._fresh = False
        return again

    async def settled(self, error: Exception) -> None:
        """There is nothing to wait for."""

    def why_lost(self) -> str:
        return ""

    def must_go(self) -> bool:
        return False

    def leave(self) -> None:
        """It has no place in a line."""


def far_changes(values: Mapping[str, Any], changed: Mapping[str, Any], max_tokens_field: str) -> dict[str, Any]:
    """What a request for generation needs besides elsewhere: its usage counted, its limit under the name that is read
    there. `changed` is what the filters have made of its members; their word holds."""
    changes: dict[str, Any] = {}
    if values.get("stream") is True:
        options = values.get("stream_options")
        changes["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    if max_tokens_field == "max_tokens":
        return changes
    limit, own = (_meant(values, changed, name) for name in ("max_tokens", max_tokens_field))
    if limit is not None:
        changes |= {"max_tokens": REMOVED, max_tokens_field: limit if own is None else own}
    return changes


def _meant(values: Mapping[str, Any], changed: Mapping[str, Any], name: str) -> Any:
    value = changed.get(name, values.get(name))
    return None if value is REMOVED else value


def lost_afar(far: Far, error: Exception | None, answering: bool) -> RoostError:
    """What a broken connection to somewhere else is called."""
    if isinstance(error, asyncio.TimeoutError):
        return UpstreamStalled(f"{far.name} was silent for too long ({error}); the request was given up")
    if answering:
        return UpstreamDisconnected(f"the connection to {far.name} broke in mid-answer")
    kind = type(error).__name__ if error is not None else "it was closed"
    if far.is_cloud:
        return CloudRefused(f"no answer from {far.name}: the connection failed ({kind})", retry_after_s=2)
    return NodeUnreachable(f"no answer from {far.name}: the connection failed ({kind})", retry_after_s=2)


def _worker(far: Far, server: FarServer, spec: ModelSpec) -> ReadyWorker:
    return ReadyWorker(
        worker_id=far.name,
        model_id=spec.id,
        engine="cloud" if far.is_cloud else "roost",
        pid=None,
        served_name=spec.id,
        session=server.session,
        wire=_Watched(server, far.note, _FAILED_STATUSES if far.is_cloud else frozenset()),
        base_url=server.base_url,
        headers=server.headers,
        traits=EngineTraits(
            cancels_non_stream=True,
            context_check="none",
            surfaces=server.surfaces,
            vision=True,
            max_tokens_field=server.max_tokens_field,
        ),
        spec=spec,
        context_length=None,
        count_prompt_tokens=_no_count,
    )


async def _no_count(route: str, body: bytes) -> int | None:
    return None


@asynccontextmanager
async def _silence(server: FarServer, most_s: float | None, away_s: float) -> AsyncIterator[None]:
    """Ends with TimeoutError after `most_s`, or after `away_s` and more once its machine is known to be away."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(most_s) as limit:
        timers: list[asyncio.TimerHandle] = []

        def look() -> None:
            if server.is_away():
                limit.reschedule(loop.time())
            else:
                timers[0] = loop.call_later(_LOOK_S, look)

        timers.append(loop.call_later(away_s, look))
        try:
            yield
        finally:
            timers[0].cancel()


def _why(server: FarServer, most_s: float | None) -> str:
    return "its machine does not answer any more" if server.is_away() else f"nothing came for {most_s:g} s"


class _Watched:
    """A wire with clocks, whose ends are noted."""

    def __init__(self, server: FarServer, note: Callable[[bool], None], failures: frozenset[int]) -> None:
        self._server, self._note, self._failures = server, note, failures
        self._wire: Poster = server.wire

    async def post(self, path: str, body: bytes, *, keep: bool) -> Posted:
        server = self._server
        try:
            async with _silence(server, server.first_byte_s, _AWAY_BEFORE_S):
                posted = await self._wire.post(path, body, keep=keep)
        except TimeoutError as error:
            self._note(True)
            if isinstance(error, aiohttp.ClientError):
                raise
            raise aiohttp.ServerTimeoutError(_why(server, server.first_byte_s)) from None
        except (aiohttp.ClientError, OSError):
            self._note(True)
            raise
        self._note(posted.status in self._failures)
        return replace(posted, content=_Timed(posted.content, server, self._note))


class _Timed:
    """A body whose silence ends."""

    def __init__(self, content: Content, server: FarServer, note: Callable[[bool], None]) -> None:
        self._content, self._server, self._note = content, server, note
        self._most_s, self._away_s = server.first_byte_s, _AWAY_BEFORE_S

    async def readany(self) -> bytes:
        try:
            async with _silence(self._server, self._most_s, self._away_s):
                data = await self._content.readany()
        except TimeoutError as error:
            self._note(True)
            if isinstance(error, aiohttp.ClientError):
                raise
            raise aiohttp.ServerTimeoutError(_why(self._server, self._most_s)) from None
        except (aiohttp.ClientError, OSError):
            self._note(True)
            raise
        self._most_s, self._away_s = self._server.idle_s, _AWAY_WITHIN_S
        return data

    def at_eof(self) -> bool:
        return self._content.at_eof()

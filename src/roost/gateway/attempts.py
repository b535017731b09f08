"""One request and its candidates in turn, until one has begun to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from roost.config.settings import Settings
from roost.errors import (
    BadGateway,
    CloudRefused,
    ConcurrencyLimit,
    ContextLengthExceeded,
    GatewayTimeout,
    InternalError,
    NotOffered,
    RateLimitExceeded,
    RoostError,
    SecretInPrompt,
    Unavailable,
)
from roost.gateway.call import Call
from roost.gateway.destinations import CLOUD, Destination
from roost.gateway.document import Document
from roost.gateway.facts import prompt_tokens, written_texts
from roost.gateway.surfaces import Surface
from roost.gateway.ways import Way, find_way

Serve = Callable[[Destination], Awaitable[web.StreamResponse]]
#: With these another one may do better; every other error is about the request itself.
_ANOTHER_MAY = (
    *(Unavailable, BadGateway, GatewayTimeout, InternalError),
    *(ConcurrencyLimit, RateLimitExceeded, ContextLengthExceeded, NotOffered),
)


async def first_that_serves(
    call: Call, surface: Surface, settings: Settings, document: Document, serve: Serve
) -> web.StreamResponse:
    """Find the way and serve. `document` is the request as it came, or all of it that can be sent on; `serve` raises
    RoostError only while nothing of an answer has left.

    Raises the RoostError of the last candidate.
    """
    way = find_way(call, surface, settings, document.values)
    if len(way.destinations) == 1 and way.destinations[0].far is None:
        return await serve(way.destinations[0])
    return await _Attempts(call, settings, document, serve).run(way)


class _Attempts:
    """At most one try a candidate, and one more of whoever was only busy."""

    def __init__(self, call: Call, settings: Settings, document: Document, serve: Serve) -> None:
        self._call, self._settings, self._document, self._serve = call, settings, document, serve
        self._busy: Destination | None = None
        self._secret: str | None = None
        self._is_scanned = False

    async def run(self, way: Way) -> web.StreamResponse:
        *others, last = way.destinations
        for destination in others:
            try:
                return await self._at(destination, way)
            except _ANOTHER_MAY as error:
                self._failed(destination, error)
            except SecretInPrompt as error:
                if self._settings.privacy.secrets == "refuse":
                    raise
                self._failed(destination, error)
        try:
            return await self._at(last, way)
        except (*_ANOTHER_MAY, SecretInPrompt) as error:
            if self._busy is None or (isinstance(error, SecretInPrompt) and self._settings.privacy.secrets == "refuse"):
                raise
            # Everybody else has failed: now it is worth its wait.
            self._failed(last, error)
        return await self._at(replace(self._busy, patience_s=None), way)

    def _failed(self, destination: Destination, error: RoostError) -> None:
        if isinstance(error, ConcurrencyLimit) and self._busy is None:
            self._busy = destination
        self._call.exchange.another_try(f"{destination.label}={error.code}")

    async def _at(self, destination: Destination, way: Way) -> web.StreamResponse:
        far = destination.far
        self._call.exchange.node = far.name if far else self._call.gateway.deps.node
        self._call.exchange.resolution = destination.resolution
        if far is None or not far.is_cloud:
            response = await self._serve(destination)
        else:
            self._check_still_allowed(destination)
            await self._keep_secrets(destination)
            try:
                response = await self._serve(destination)
            except RoostError:
                # It has not answered; what it generated until then is counted all the same.
                self._call.exchange.is_asked = False
                raise
            finally:
                self._book(destination, far.name.removeprefix(CLOUD))
        if way.conversation is not None and self._only_busy():
            self._call.gateway.affinity.keep(way.conversation, destination.label)
        return response

    def _only_busy(self) -> bool:
        """Nobody before failed: who serves a conversation because a better one is away does not keep it."""
        return all(one.endswith(f"={ConcurrencyLimit.code}") for one in self._call.exchange.tried)

    def _check_still_allowed(self, destination: Destination) -> None:
        """Others were waited for, and the settings may have changed since."""
        if self._call.gateway.deps.settings().privacy.local_only:
            raise CloudRefused(
                f"the request was not sent to {destination.label}: privacy.local_only is set by now", should_retry=False
            )

    async def _keep_secrets(self, destination: Destination) -> None:
        """Raises SecretInPrompt, naming the kind and never the thing."""
        if not self._is_scanned:
            clouds, text = self._call.gateway.deps.clouds, self._document.text
            self._secret = await asyncio.to_thread(lambda: clouds.secret_in(written_texts(text)))
            self._is_scanned = True
        if self._secret is not None:
            raise SecretInPrompt(
                f"the request holds what looks like a secret ({self._secret}) and was not sent to {destination.label}; "
                "take it out, or let a model of your own serve the request"
            )

    def _book(self, destination: Destination, cloud: str) -> None:
        """What the provider will charge, as far as it has counted: an answer that was cut is counted by its chunks,
        and its prompt by its size."""
        exchange = self._call.exchange
        counted = exchange.prompt_tokens
        if counted is None and not exchange.completion_tokens and not exchange.is_asked:
            return
        usd = self._call.gateway.deps.clouds.spent(
            cloud,
            destination.spec.id,
            exchange.consumer.name if exchange.consumer else None,
            prompt_tokens(self._document.values) if counted is None else counted,
            exchange.cached_tokens or 0,
            exchange.completion_tokens or 0,
        )
        if usd is not None:
            exchange.cost_usd = usd + (exchange.cost_usd or 0.0)

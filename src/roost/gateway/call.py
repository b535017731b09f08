"""One matched, authorised request on its way to a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from roost.errors import Forbidden
from roost.gateway.auth import Scope
from roost.gateway.exchange import Exchange
from roost.gateway.hosts import only
from roost.gateway.proxies import client_scheme
from roost.gateway.replies import ErrorBody, error_bytes
from roost.gateway.state import Gateway
from roost.registry.types import Resolution


@dataclass(frozen=True)
class Call:
    request: web.Request
    gateway: Gateway
    exchange: Exchange

    def resolve(self, name: str) -> Resolution:
        """What the name in this request means; `x-roost-fallback: never` asks for no other target than the first.
        Raises ModelNotFound, Forbidden."""
        self.check_name(name)
        return self.gateway.resolve(name, first_only=self.first_only)

    @property
    def first_only(self) -> bool:
        """`x-roost-fallback: never`: the first that the name means, or nobody. Raises
        BadRequest where that stands twice."""
        return (only(self.request.headers, "x-roost-fallback") or "").strip().lower() == "never"

    @property
    def origin(self) -> str:
        """Scheme and host as the client knows them."""
        request, proxies = self.request, self.gateway.deps.settings().gateway.trusted_proxies
        return f"{client_scheme(request.remote, request.headers, proxies, request.scheme)}://{request.host}"

    def resolve_anywhere(self, name: str) -> Resolution:
        """The same, with the models of paired machines; a request that came from one of these goes to no other."""
        self.check_name(name)
        if self.exchange.peer is not None:
            return self.gateway.resolve(name, first_only=self.first_only)
        return self.gateway.resolve_anywhere(name, first_only=self.first_only)

    def may_ask_for(self, name: str) -> bool:
        """Whether the key of this request is for this name."""
        consumer = self.exchange.consumer
        return consumer is None or consumer.may_ask_for(name)

    def check_name(self, name: str) -> None:
        """Raises Forbidden, with what the key is for."""
        consumer = self.exchange.consumer
        if consumer is not None and consumer.names is not None and name not in consumer.names:
            own = ", ".join(sorted(consumer.names))
            raise Forbidden(f'the key "{consumer.name}" may ask for {own} and nothing else', param="model")


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Body(StrEnum):
    """What a route does with a request body."""

    #: There is none; what comes is not read.
    NONE = "none"
    #: `application/json`, else 415.
    JSON = "json"
    #: Any type; the handler reads it.
    ANY = "any"


@dataclass(frozen=True)
class Route:
    """One row of the route table."""

    method: str
    path: str
    scope: Scope
    handler: Handler
    body: Body
    summary: str
    #: How this route's clients read an error.
    error_body: ErrorBody = error_bytes
    #: A further header in which they look for the request's id.
    id_header: str | None = None

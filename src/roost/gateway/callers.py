"""Who sends a request: a key's owner, a paired machine, or a keyless program of this one; and how far it has come."""

from __future__ import annotations

from aiohttp import web
from multidict import MultiMapping

from roost.errors import BadRequest, Forbidden, LoopDetected
from roost.gateway.auth import Scope, authorise, identify
from roost.gateway.call import Route
from roost.gateway.exchange import Exchange
from roost.gateway.hosts import only
from roost.gateway.protocol import GatewayProtocol
from roost.gateway.proxies import came_through_proxy, client_address, is_trusted
from roost.gateway.state import Gateway
from roost.gateway.surfaces import SURFACES
from roost.store.keys import Consumer

#: Machines that a request may have come through. One that came from a peer is served here or not at all.
MOST_HOPS = 1
#: All that a paired machine may ask besides what is for peers alone: a stolen key is worth no more than that.
PEER_PATHS = frozenset(
    {
        *(surface.path for surface in SURFACES),
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/models/{name:.+}",
    }
)


def let_in(request: web.Request, route: Route, gateway: Gateway, exchange: Exchange) -> None:
    """Notes who asks, and raises the RoostError when they may not ask this."""
    if not gateway.control and route.scope is not Scope.OPEN:
        if (node_id := _paired_key(request, gateway)) is not None:
            _note_peer(node_id, gateway, exchange)
            _check_peer_route(route, exchange.peer or "")
        else:
            exchange.consumer = consumer_of(request, gateway)
            exchange.client = _behind_proxy(request, gateway)
    if route.scope is Scope.PEER:
        if exchange.peer is None:
            raise Forbidden('only a paired machine may ask this; "roost node invite" makes one')
    else:
        authorise(route.scope, exchange.consumer, gateway.control)
    check_hops(request.headers, gateway.deps.pairing.node_id())


def consumer_of(request: web.Request, gateway: Gateway) -> Consumer | None:
    """The owner of the request's key; None for a keyless program of this machine, which nobody is who comes through a
    proxy, wherever that runs. Raises InvalidApiKey, BadRequest."""
    proxies = gateway.deps.settings().gateway.trusted_proxies
    always = gateway.door or came_through_proxy(request.remote, request.headers, proxies)
    return identify(request.headers, gateway.deps.keys, request.remote, always=always)


def _behind_proxy(request: web.Request, gateway: Gateway) -> str | None:
    proxies = gateway.deps.settings().gateway.trusted_proxies
    if not proxies or not is_trusted(request.remote, proxies):
        return None
    return client_address(request.remote, request.headers, proxies)


def _paired_key(request: web.Request, gateway: Gateway) -> str | None:
    """The key that the other end of this connection has proven; None: it showed no certificate."""
    if not gateway.door or not isinstance(request.protocol, GatewayProtocol):
        return None
    return request.protocol.proven_key(gateway.deps.pairing.key_digest)


def _note_peer(node_id: str, gateway: Gateway, exchange: Exchange) -> None:
    # Asked at each request: who was revoked is out at once, whatever connections are open.
    exchange.peer = gateway.deps.pairing.admitted(node_id)
    exchange.peer_id = node_id
    exchange.consumer = Consumer(f"node:{node_id[:12]}", f"node:{exchange.peer}")


def _check_peer_route(route: Route, name: str) -> None:
    if route.scope is not Scope.PEER and route.path not in PEER_PATHS:
        raise Forbidden(f"the paired machine {name} may use models here, and nothing else")


def check_hops(headers: MultiMapping[str], node_id: str | None) -> None:
    """Raises LoopDetected for a request that began at this machine, or came through more than `MOST_HOPS`."""
    origin, hops = only(headers, "x-roost-origin"), only(headers, "x-roost-hops")
    if hops is not None:
        if not (hops.isascii() and hops.isdigit() and len(hops) <= 3):
            raise BadRequest("the header x-roost-hops is a count of machines")
        if int(hops) > MOST_HOPS:
            raise LoopDetected(f"this request has come through {int(hops)} machines, and {MOST_HOPS} is the most")
    if origin is not None and origin == node_id:
        raise LoopDetected("this request began at this machine and came back to it; see where its role points there")

"""Who is calling, and whether the matched route lets them."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from multidict import MultiMapping

from roost.errors import Forbidden, InvalidApiKey
from roost.gateway.deps import KeyRing
from roost.gateway.hosts import only
from roost.store.keys import Consumer


class Scope(StrEnum):
    """What a route asks of its caller. Every route declares one."""

    #: Nobody is asked for a key.
    OPEN = "open"
    #: Any key; none needed by a loopback caller where keys were never made.
    USE = "use"
    #: A key with admin rights; none needed by a loopback caller where keys were never made.
    MANAGE = "manage"
    #: A paired machine, known by its certificate.
    PEER = "peer"
    #: Only over the control socket.
    CONTROL = "control"


def presented_key(headers: MultiMapping[str]) -> str | None:
    """The key of a request: Bearer, x-api-key, or the password of Basic; one extraction for all routes.

    Raises BadRequest where one of these stands twice.
    """
    other = only(headers, "x-api-key")
    scheme, _, value = (only(headers, "Authorization") or "").partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer" if value:
            return value
        case "basic" if value:
            return _basic_password(value)
    return other or None


def _basic_password(value: str) -> str | None:
    try:
        _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or None


@lru_cache(maxsize=256)
def is_loopback(peer: str | None) -> bool:
    """Whether a peer's address is this machine's loopback; a unix socket has no address and is local."""
    if not peer:
        return True
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def identify(headers: MultiMapping[str], keys: KeyRing, peer: str | None, *, always: bool = False) -> Consumer | None:
    """The owner of the presented key; None for a keyless loopback caller while no keys are configured. `always`: there
    is no such caller where the request came in.

    Raises InvalidApiKey, BadRequest.
    """
    if not always and not keys.configured():
        if is_loopback(peer):
            return None
        raise InvalidApiKey('this endpoint needs a key from other machines; "roost keys add NAME" makes one')
    presented = presented_key(headers)
    if presented is None:
        raise InvalidApiKey(
            'this endpoint needs a key; "roost keys add NAME" makes one; '
            "store it as OPENAI_API_KEY (or send it as Authorization: Bearer, x-api-key or the password of Basic)"
        )
    consumer = keys.consumer(presented)
    if consumer is None:
        raise InvalidApiKey(
            'this key is wrong, expired or revoked; "roost keys list" shows the valid ones, '
            '"roost keys add NAME" makes one; store it as OPENAI_API_KEY'
        )
    return consumer


def authorise(scope: Scope, consumer: Consumer | None, control: bool) -> None:
    """Raises Forbidden when the caller is known and still may not; `consumer` None is a keyless local caller."""
    if control:
        return
    if scope is Scope.CONTROL:
        raise Forbidden("only the roost command on this machine may do this")
    if scope is Scope.MANAGE and consumer is not None and not consumer.admin:
        raise Forbidden(
            f'the key "{consumer.name}" may use models but not manage them; "roost keys add NAME --admin" makes one'
        )

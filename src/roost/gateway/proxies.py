"""Proxies before this endpoint: whether a request came through one, and from whom. Pure.

What a header says of others is believed of a proxy that `gateway.trusted_proxies` names, and of nobody else. That a
request has come through anybody at all is believed of everyone: it can only take rights away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from multidict import MultiMapping

from roost.config.settings import GatewaySettings
from roost.errors import TlsRequired
from roost.gateway.auth import is_loopback

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network
#: What proxies add. One that adds none of them cannot be told from a program of its own machine.
TRACES = (
    "X-Forwarded-For",
    "Forwarded",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Real-IP",
    "Via",
)
_SCHEMES = ("http", "https")


def network(text: str) -> _Network:
    """An address or CIDR of the settings. Raises ValueError, for one with digits beyond its prefix too."""
    return ip_network(text.strip("[]"))


@lru_cache(maxsize=1024)
def is_trusted(peer: str | None, proxies: tuple[str, ...]) -> bool:
    """Whether the other end of a connection is one of these addresses and CIDRs."""
    address = read_address(peer or "")
    return address is not None and any(address in one for one in _networks(proxies))


def came_through_proxy(peer: str | None, headers: MultiMapping[str], proxies: tuple[str, ...]) -> bool:
    """Whether somebody else may stand behind the other end of the connection. A trusted proxy counts without any trace
    too: clients have made proxies drop their own headers, by a Connection header that names these."""
    return any(name in headers for name in TRACES) or (bool(proxies) and is_trusted(peer, proxies))


def client_address(peer: str | None, headers: MultiMapping[str], proxies: tuple[str, ...]) -> str | None:
    """Who sent the request: from the right, the first hop that is no trusted proxy, for what stands left of it anybody
    may have written. None: a trusted proxy does not say."""
    if not is_trusted(peer, proxies):
        return peer
    hops = _listed(headers, "X-Forwarded-For") or [_part(hop, "for") for hop in _listed(headers, "Forwarded")]
    address = None
    for hop in reversed(hops):
        address = read_address(hop)
        if address is None or not is_trusted(str(address), proxies):
            break
    return str(address) if address is not None else None


def client_scheme(peer: str | None, headers: MultiMapping[str], proxies: tuple[str, ...], own: str) -> str:
    """http or https, as the client began; `own` is what this end of the connection speaks."""
    if not proxies or not is_trusted(peer, proxies):
        return own
    told = _listed(headers, "X-Forwarded-Proto") or [_part(hop, "proto") for hop in _listed(headers, "Forwarded")]
    last = told[-1].lower() if told else ""
    return last if last in _SCHEMES else own


def check_clear_text(peer: str | None, settings: GatewaySettings) -> None:
    """Raises TlsRequired for another machine that sends in the clear and is no proxy that speaks TLS to its clients."""
    if settings.tls_certificate or is_loopback(peer) or is_trusted(peer, settings.trusted_proxies):
        return
    raise TlsRequired(
        "this endpoint takes requests from other machines only through the proxies that gateway.trusted_proxies "
        "names; use the address of one, with https"
    )


def read_address(text: str) -> _Address | None:
    """An address as proxies write it: bare, with a port, in brackets or quotes, with a zone. None for anything else
    (`unknown`, `_hidden`, a name)."""
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=16)
def _networks(proxies: tuple[str, ...]) -> tuple[_Network, ...]:
    """Entries that are no address trust nobody; the check of the settings names them."""
    found = []
    for text in proxies:
        try:
            found.append(network(text))
        except ValueError:
            continue
    return tuple(found)


def _listed(headers: MultiMapping[str], name: str) -> Sequence[str]:
    """All hops of a header. Split at every comma, quoted or not: a quote that a client opened must not swallow what a
    proxy added behind it, and no address holds one."""
    return [hop.strip() for value in headers.getall(name, ()) for hop in value.split(",")]


def _part(hop: str, name: str) -> str:
    """`for` or `proto` of one element of Forwarded; empty: it has none."""
    for pair in hop.split(";"):
        key, _, value = pair.strip().partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""

"""Who may speak to the endpoint from where: Host, Origin and target checks on the raw headers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp.http import HttpVersion, HttpVersion11
from multidict import MultiMapping

from roost.errors import BadRequest, HostNotAllowed, OriginNotAllowed

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def allowed_hosts(address: str, port: int, configured: Sequence[str], tls: bool) -> frozenset[str]:
    """Every Host value that is accepted on a listener: exact name and port.

    An address of this machine's own is safe (a page that rebinds its name sends the name); the scheme's default port
    may be left away; a configured name without a port stands for the bound one and for none.
    """
    own = f"[{address}]" if ":" in address else address
    names = {*_LOOPBACK_NAMES, own}
    hosts = {f"{name}:{port}" for name in names}
    if port == (443 if tls else 80):
        hosts |= names
    for entry in configured:
        name = entry.lower()
        hosts |= {name} if _has_port(name) else {name, f"{name}:{port}"}
    return frozenset(hosts)


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and (not host.startswith("[") or "]:" in host)


def check_host(values: Sequence[str], hosts: frozenset[str]) -> None:
    """Raises HostNotAllowed unless exactly one Host header stands there and it is on the list."""
    if len(values) != 1 or values[0].lower() not in hosts:
        raise HostNotAllowed(
            "this Host header is not one of this endpoint's; use its address and port, "
            "or add the name to gateway.allowed_hosts"
        )


def check_origin(values: Sequence[str], allowed: Sequence[str]) -> None:
    """Raises OriginNotAllowed for a browser page that is not listed; without Origin a request passes."""
    if any(value not in allowed for value in values):
        raise OriginNotAllowed(
            "a page of this origin may not call this endpoint; list it in gateway.allowed_origins if it should"
        )


def check_target(raw_path: str) -> None:
    """Raises BadRequest for the absolute form, which only proxies are sent: its host could differ from Host."""
    if not raw_path.startswith("/"):
        raise BadRequest("the request target must be a path, such as /v1/models")


def check_framing(version: HttpVersion, headers: MultiMapping[str]) -> None:
    """Raises BadRequest for chunks from a client of HTTP/1.0, which knows none: servers disagree on where they end."""
    if version < HttpVersion11 and "Transfer-Encoding" in headers:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding; send a Content-Length, or HTTP/1.1")


def only(headers: MultiMapping[str], name: str) -> str | None:
    """The one value of a header; None when it is not there. Raises BadRequest for two: whoever looked at a request
    before may have gone by the other one."""
    values = headers.getall(name, ())
    if len(values) > 1:
        raise BadRequest(f"the header {name} stands twice in the request; send it once")
    return values[0] if values else None


def check_same_site(fetch_sites: Sequence[str]) -> None:
    """Raises OriginNotAllowed for a request that changes state and says anywhere that another site's page sends it."""
    if any(site not in ("same-origin", "none") for site in fetch_sites):
        raise OriginNotAllowed("another site's page may not call this; open it directly")

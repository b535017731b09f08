"""What valid settings may still get wrong: values that contradict each other or the world around them.

Pure: facts come in as a value. What only one engine can judge is that engine's own `problems`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from roost.api import Problem
from roost.config.check_clouds import check_clouds
from roost.config.check_knobs import check_knobs
from roost.config.check_models import check_filters, check_models, unknown_capabilities
from roost.config.check_redirects import check_redirects
from roost.config.check_routes import check_routes
from roost.config.findings import Facts, did_you_mean, error, warning
from roost.config.layout import BadLayout, anything, layout_of, models_named
from roost.config.schema import dotted
from roost.config.settings import Settings

_ORIGIN = re.compile(r"https?://[^/\s*]+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:*\[\]]+)(:\d{1,5})?")


def check(settings: Settings, facts: Facts) -> tuple[Problem, ...]:
    """Every contradiction, errors first. An empty answer means that the settings can be used as they are."""
    found = [problem for part in CHECKS for problem in part(settings, facts)]
    return tuple(sorted(found, key=lambda problem: problem.severity != "error"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name that is not `localhost` counts as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_bind(settings: Settings, facts: Facts) -> Iterator[Problem]:
    gateway = settings.gateway
    if is_loopback(gateway.host):
        return
    reach = f"gateway.host {gateway.host} can be reached from other machines"
    if not facts.has_keys:
        yield error(f"{reach} and needs keys; none is configured", "roost keys add NAME")
    if not (gateway.tls_certificate and gateway.tls_key) and not gateway.trusted_proxies:
        yield error(
            f"{reach} and needs TLS, or keys and prompts cross the network in the clear",
            "set gateway.tls_certificate and gateway.tls_key, gateway.trusted_proxies for a proxy that has them, "
            "or gateway.host = 127.0.0.1",
        )
    if not gateway.allowed_hosts:
        yield warning(
            f"{reach}, but gateway.allowed_hosts names none of the names they call it by: they would get 403",
            'set gateway.allowed_hosts = ["NAME:PORT"]',
        )


def _check_proxies(settings: Settings, facts: Facts) -> Iterator[Problem]:
    proxies = settings.gateway.trusted_proxies
    for text in proxies:
        if problem := _not_proxies(text):
            yield error(f'gateway.trusted_proxies: "{text}" {problem}', 'write "192.168.1.5" or "172.18.0.0/16"')
    if proxies and is_loopback(settings.gateway.host) and not facts.has_keys:
        yield warning(
            "gateway.trusted_proxies is set and there is no key: whoever comes through a proxy needs one",
            "roost keys add NAME",
        )


def _not_proxies(text: str) -> str | None:
    """What is wrong with an address or CIDR; None: nothing."""
    try:
        found = ipaddress.ip_network(text.strip("[]"))
    except ValueError as problem:
        return f"is no address or CIDR ({problem})" if "host bits" in str(problem) else "is no address or CIDR"
    return None if found.prefixlen else "is every machine there is: each could say that it is another"


def _check_tls_pair(settings: Settings, facts: Facts) -> Iterator[Problem]:
    gateway = settings.gateway
    if bool(gateway.tls_certificate) == bool(gateway.tls_key):
        return
    there, absent = ("tls_certificate", "tls_key") if gateway.tls_certificate else ("tls_key", "tls_certificate")
    yield error(f"gateway.{there} is set without gateway.{absent}; TLS needs both", f"set gateway.{absent}")


def _check_names_of_callers(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for origin in settings.gateway.allowed_origins:
        if not _ORIGIN.fullmatch(origin):
            yield error(
                f'gateway.allowed_origins: "{origin}" is not an origin; every page could call if it were a pattern',
                'write each as "https://name" or "https://name:port", without a path',
            )
    for host in settings.gateway.allowed_hosts:
        if not _HOST.fullmatch(host):
            yield error(f'gateway.allowed_hosts: "{host}" is not a host', 'write "name" or "name:port"')


def _check_nodes(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for place in settings.nodes.advertise:
        if not _HOST.fullmatch(place) or not place.isascii():
            yield error(f'nodes.advertise: "{place}" is not a host', 'write "name", "name:port" or "[address]:port"')
    for name, how in settings.nodes.wake.items():
        if not how.mac and not how.command:
            yield error(f"[{dotted(('nodes', 'wake', name))}]: nothing wakes it", "set mac or command")


def _check_residency(settings: Settings, facts: Facts) -> Iterator[Problem]:
    residency = settings.residency
    if len(residency.pinned) >= residency.max_resident and residency.pinned:
        yield warning(
            f"residency.pinned names {len(residency.pinned)} models and residency.max_resident is "
            f"{residency.max_resident}: once they are loaded no other chat model ever gets in",
            "raise residency.max_resident or pin fewer",
        )
    if len(residency.preload) >= residency.max_resident and residency.preload:
        yield warning(
            f"residency.preload names {len(residency.preload)} models beside the default and "
            f"residency.max_resident is {residency.max_resident}: they would push each other out",
            "raise residency.max_resident or preload fewer",
        )
    yield from _check_layout(settings, facts)
    yield from _unknown("residency.pinned", residency.pinned, settings, facts, roles_too=False)
    yield from _unknown("residency.preload", residency.preload, settings, facts, roles_too=True)
    for name, group in residency.groups.items():
        yield from _unknown(
            dotted(("residency", "groups", name, "members")), group.members, settings, facts, roles_too=False
        )


def _check_layout(settings: Settings, facts: Facts) -> Iterator[Problem]:
    residency = settings.residency
    try:
        most = layout_of(residency).most(anything)
        named = models_named(residency.matrix) if residency.matrix else ()
    except BadLayout as problem:
        yield error(f"{dotted(('residency', *problem.key))}: {problem}", "roost config check")
        return
    yield from _unknown("residency.matrix", tuple(sorted(named)), settings, facts, roles_too=False)
    if most is not None and most > residency.max_resident:
        what = "residency.matrix lets" if residency.matrix else "residency.groups let"
        yield warning(
            f"{what} up to {most} models be loaded together, and residency.max_resident is {residency.max_resident}, "
            "which holds for chat models all the same",
            f"set residency.max_resident = {most} if there is memory for them",
        )


def _unknown(
    key: str, names: tuple[str, ...], settings: Settings, facts: Facts, *, roles_too: bool
) -> Iterator[Problem]:
    if facts.models is None or (roles_too and facts.roles is None):
        return
    known = {*facts.models, *settings.models, *((facts.roles or ()) if roles_too else ())}
    for name in names:
        if name not in known:
            what = "role or model" if roles_too else "model"
            yield warning(f'{key}: no {what} is called "{name}"', did_you_mean(name, known) or "roost models list")


def _check_roles(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for role, wanted in settings.roles.items():
        place = dotted(("roles", role))
        if facts.roles is not None and role not in facts.roles:
            yield warning(
                f"[{place}]: the registry has no such role", did_you_mean(role, facts.roles) or f"roost use {role} ID"
            )
        yield from unknown_capabilities(f"{place}.requires", wanted.requires)
        yield from check_filters(f"{place}.filters", wanted.filters)


def _check_giving_way(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for name in settings.park.engines:
        if name not in facts.engines:
            yield error(
                f'park.engines: no engine is called "{name}"; there are {", ".join(facts.engines)}',
                did_you_mean(name, facts.engines),
            )
    coexistence = settings.coexistence
    if coexistence.calm_percent >= coexistence.busy_percent:
        yield error(
            f"coexistence.calm_percent {coexistence.calm_percent:g} is not below coexistence.busy_percent "
            f"{coexistence.busy_percent:g}: the mode would change with every look",
            "set calm_percent well below busy_percent",
        )


#: Every check there is; adding one is a row and a test.
CHECKS: tuple[Callable[[Settings, Facts], Iterator[Problem]], ...] = (
    _check_bind,
    _check_proxies,
    _check_tls_pair,
    _check_names_of_callers,
    _check_residency,
    _check_nodes,
    _check_giving_way,
    check_knobs,
    check_models,
    check_redirects,
    check_routes,
    check_clouds,
    _check_roles,
)

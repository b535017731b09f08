"""Under which addresses other machines may reach this one."""

from __future__ import annotations

import ipaddress
import socket

import psutil

#: Networks of containers and virtual machines on this host: nobody else is there.
_VIRTUAL = (
    "lo",
    "docker",
    "br-",
    "veth",
    "virbr",
    "vmnet",
    "bridge",
    "cni",
    "flannel",
    "podman",
    "lxc",
    "utun",
    "awdl",
)
_MOST = 4


def own_addresses() -> tuple[str, ...]:
    """IPv4 first; without loopback, link-local and what only containers see. At most four."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        ipaddress.ip_address(place.address)
        for name, places in psutil.net_if_addrs().items()
        if name in up and not name.startswith(_VIRTUAL)
        for place in places
        if place.family in (socket.AF_INET, socket.AF_INET6) and "%" not in place.address
    ]
    usable = [one for one in found if not (one.is_loopback or one.is_link_local or one.is_unspecified)]
    return tuple(str(one) for one in sorted(usable, key=lambda one: one.version))[:_MOST]

"""Where a resolved request runs, and the short reason that the client sees in `x-roost-route`."""

from __future__ import annotations

from dataclasses import dataclass

from roost.registry.types import Resolution


@dataclass(frozen=True)
class Standing:
    """How this node stands to the model at the moment of the choice."""

    #: A worker of it is READY (the request may still queue for a slot).
    ready: bool
    #: Another model has to leave first.
    displaces: bool = False


@dataclass(frozen=True)
class Local:
    """This node serves it."""

    reason: str


def chosen_far(resolution: Resolution, *, is_cloud: bool) -> str:
    """The reason of a request that leaves this machine: `peer` or `cloud`, with the same words behind it."""
    return _reason("cloud" if is_cloud else "peer", resolution)


def choose(resolution: Resolution, standing: Standing) -> Local:
    """Every model of this machine runs on this machine; the reason tells what that took.

    `resident`, `loaded` or `swapped`; behind it `-profile`, `-warm`, `-pin` or `-spillover` when the name was
    redirected, `-class` when a class of work chose, `-fallback` when a candidate before it did not serve, and
    `-default` when the role had no entry of its own.
    """
    reason = "resident" if standing.ready else "swapped" if standing.displaces else "loaded"
    return Local(_reason(reason, resolution))


def _reason(first: str, resolution: Resolution) -> str:
    return "-".join((first, *resolution.via, *(("default",) if resolution.via_default else ())))

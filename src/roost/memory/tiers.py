"""When a model can be served at all: beside the desktop, at night, over several machines, or never. Computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from roost.memory.budget import GIB, HOST, Budget
from roost.memory.devices import DeviceSet, place
from roost.memory.needs import Need


class Tier(StrEnum):
    #: Beside the desktop, with the caches at their caps.
    INTERACTIVE = "interactive"
    #: Within the night's budget only.
    OVERNIGHT = "overnight"
    #: On several machines together only.
    SHARD = "shard"
    NONE = "none"
    #: Nobody can tell what it needs.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Standing:
    tier: Tier
    #: One sentence with the numbers.
    reason: str


def standing(
    need: Need,
    day: Mapping[str, Budget],
    night: Mapping[str, Budget],
    others: Sequence[int] = (),
    each_bytes: int = 0,
) -> Standing:
    """Whatever is loaded now does not count. `others`: what paired machines could give at night; `each_bytes`: what
    every further machine needs for itself."""
    size = f"{need.total_bytes / GIB:.1f} GiB with its caches full"
    by_day, by_night = (_capacity(need, budgets) for budgets in (day, night))
    if _fits_alone(need, day):
        return Standing(Tier.INTERACTIVE, f"{size}, {by_day / GIB:.1f} GiB beside the desktop")
    if _fits_alone(need, night):
        return Standing(
            Tier.OVERNIGHT, f"{size}, {by_day / GIB:.1f} GiB beside the desktop, {by_night / GIB:.1f} GiB at night"
        )
    together = by_night
    for count, budget in enumerate(sorted(others, reverse=True), 2):
        together += max(budget - each_bytes, 0)
        if need.total_bytes <= together:
            return Standing(Tier.SHARD, f"{size}, {together / GIB:.1f} GiB on {count} machines together")
    where = "on all machines together" if others else "at night on this machine"
    return Standing(Tier.NONE, f"{size}, {together / GIB:.1f} GiB {where}")


def _fits_alone(need: Need, budgets: Mapping[str, Budget]) -> bool:
    emptied = {
        device: replace(budget, limit_bytes=budget.capacity_bytes, reserved_bytes=0)
        for device, budget in budgets.items()
    }
    return isinstance(place(need, emptied), DeviceSet)


def _capacity(need: Need, budgets: Mapping[str, Budget]) -> int:
    """Of the host, and of the GPUs if they have a part in it."""
    gpus = [budget for device, budget in budgets.items() if device != HOST and not budget.is_shared]
    return budgets[HOST].most_bytes + (sum(gpu.most_bytes for gpu in gpus) if need.gpu.total_bytes else 0)

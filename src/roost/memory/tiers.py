"""When a model can be served at all: beside the desktop, at night, over several machines, or never. Computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from roost.memory.budget import GIB


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


@dataclass(frozen=True)
class Room:
    """What one machine could give with nothing else loaded, host and GPUs together as the model would use them."""

    day_bytes: int
    night_bytes: int


def standing(need_bytes: int, here: Room, others: Sequence[int] = (), each_bytes: int = 0) -> Standing:
    """`others`: night budgets of paired machines; `each_bytes`: what every further machine needs for itself."""
    need = f"{need_bytes / GIB:.1f} GiB with its caches full"
    if need_bytes <= here.day_bytes:
        return Standing(Tier.INTERACTIVE, f"{need}, {here.day_bytes / GIB:.1f} GiB beside the desktop")
    if need_bytes <= here.night_bytes:
        return Standing(
            Tier.OVERNIGHT,
            f"{need}, {here.day_bytes / GIB:.1f} GiB beside the desktop, {here.night_bytes / GIB:.1f} GiB at night",
        )
    together = here.night_bytes
    for count, budget in enumerate(sorted(others, reverse=True), 2):
        together += max(budget - each_bytes, 0)
        if need_bytes <= together:
            return Standing(Tier.SHARD, f"{need}, {together / GIB:.1f} GiB on {count} machines together")
    where = "on all machines together" if others else "at night on this machine"
    return Standing(Tier.NONE, f"{need}, {together / GIB:.1f} GiB {where}")

"""By which means a worker is held to its memory: the strongest that this machine has. Pure.

Its guardian watches it in any case; what is chosen here stands behind that, where a look may come too late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from roost.memory.lines import Lines

#: Reservations that are never written to count for the kernel's data limit: libraries and arenas, and a stack for each
#: thread, of which engines have some for each CPU.
_RESERVED_BYTES, _RESERVED_EACH_CPU_BYTES = 2**30, 16 * 2**20


class Means(StrEnum):
    """For people: what holds a worker."""

    GROUP = "a control group and its guardian"
    DATA_LIMIT = "a data limit and its guardian"
    WATCH = "its guardian"


@dataclass(frozen=True)
class Abilities:
    """What this machine lets roost do."""

    #: Control groups of its own (cgroup v2, delegated).
    groups: bool = False
    #: Linux counts private memory against RLIMIT_DATA.
    data_limit: bool = False
    cpus: int = 1


def means_for(abilities: Abilities, *, device: str | None, in_container: bool = False) -> Means:
    """`device`: what the engine computes on, if it tells sizes; None: nobody knows what its worker reserves. A GPU's
    driver reserves far more than it takes."""
    if in_container:
        return Means.WATCH
    if abilities.groups:
        return Means.GROUP
    if abilities.data_limit and device == "cpu":
        return Means.DATA_LIMIT
    return Means.WATCH


def held_by(means: Means, lines: Lines, abilities: Abilities) -> Lines:
    """The lines with what the means ask of the kernel."""
    if means is not Means.DATA_LIMIT:
        return lines
    reserved = _RESERVED_BYTES + _RESERVED_EACH_CPU_BYTES * abilities.cpus
    return replace(lines, data_bytes=lines.limit_bytes + reserved)

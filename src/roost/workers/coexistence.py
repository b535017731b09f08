"""How models give way to whoever works at this machine: from readings to a mode, and from a mode to a claim. Pure.

Each reason has its own clock: it counts once it has lasted, and stops counting once it has been gone for longer. What
a machine does not tell is no reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from roost.config.coexistence import CoexistenceSettings
from roost.host.memory_types import HostMemory
from roost.host.power_types import Busyness, Power
from roost.workers.claim import FULL, Claim, Mode


class Cause(StrEnum):
    SAVING = "low-power mode"
    BATTERY = "on battery"
    CHARGE = "low charge"
    MEMORY = "memory pressure"
    BUSY = "others are busy"


#: The order of severity is the order of Mode.
CALLS_FOR: Mapping[Cause, Mode] = {
    Cause.SAVING: Mode.MINIMAL,
    Cause.CHARGE: Mode.MINIMAL,
    Cause.MEMORY: Mode.MINIMAL,
    Cause.BATTERY: Mode.MODEST,
    Cause.BUSY: Mode.MODEST,
}
_SEVERITY = tuple(Mode)


@dataclass(frozen=True)
class Sight:
    """One look at the machine."""

    at_s: float
    power: Power = field(default_factory=Power)
    #: None: a sensor failed; the memory alarm tells of it.
    memory: HostMemory | None = None
    #: Share of all cores that others used since the look before; None: not known.
    others_percent: float | None = None
    untouched_s: float | None = None


@dataclass(frozen=True)
class Coexistence:
    """The mode so far. `since`: of each reason, since when it has been seen (not counting yet) or missed (counting)."""

    mode: Mode = Mode.FULL
    counting: frozenset[Cause] = frozenset()
    since: Mapping[Cause, float] = field(default_factory=dict)
    #: What counts, with its numbers as last seen.
    texts: Mapping[Cause, str] = field(default_factory=dict)

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(self.texts[cause] for cause in Cause if cause in self.counting)


def step(before: Coexistence, seen: Sight, settings: CoexistenceSettings) -> Coexistence:
    """The mode after one more look."""
    if not settings.enabled or settings.profile == "server":
        return Coexistence()
    texts = reasons_of(seen, before.counting, settings)
    # A sensor that does not answer for a moment neither raises nor lowers anything.
    unknown = frozenset({Cause.BUSY}) if seen.others_percent is None else frozenset()
    counting: set[Cause] = set()
    since: dict[Cause, float] = {}
    for cause in Cause:
        counts, present = cause in before.counting, cause in texts or (cause in unknown and cause in before.counting)
        if counts != present:
            changing = since[cause] = before.since.get(cause, seen.at_s)
            if seen.at_s - changing >= (settings.settle_s if counts else settings.rise_s):
                counts = not counts
                del since[cause]
        if counts:
            counting.add(cause)
    mode = max((CALLS_FOR[cause] for cause in counting), key=_SEVERITY.index, default=Mode.FULL)
    kept = {cause: texts.get(cause) or before.texts.get(cause, cause.value) for cause in counting}
    return Coexistence(mode, frozenset(counting), since, kept)


def reasons_of(seen: Sight, counting: frozenset[Cause], settings: CoexistenceSettings) -> dict[Cause, str]:
    """What this look alone speaks for, each with its numbers."""
    power, found = seen.power, dict[Cause, str]()
    charge = "" if power.charge_percent is None else f" ({power.charge_percent} %)"
    if power.saving:
        found[Cause.SAVING] = "low-power mode"
    if power.on_battery:
        found[Cause.BATTERY] = f"on battery{charge}"
        if power.charge_percent is not None and power.charge_percent < settings.low_charge_percent:
            found[Cause.CHARGE] = f"the battery is low{charge}"
    if text := _pressure(seen.memory, settings):
        found[Cause.MEMORY] = text
    bound = settings.calm_percent if Cause.BUSY in counting else settings.busy_percent
    if seen.others_percent is not None and seen.others_percent >= bound:
        found[Cause.BUSY] = f"other programs use {seen.others_percent:.0f} % of the CPU"
    return found


def _pressure(memory: HostMemory | None, settings: CoexistenceSettings) -> str | None:
    if memory is None:
        return None
    waited, level = memory.pressure.some_percent, memory.pressure.level
    if waited is not None and waited >= settings.memory_waited_percent:
        return f"programs waited for memory {waited:.1f} % of the time"
    if level is not None and level > 1:
        return "the system warns of memory pressure"
    free = 100 * memory.available_bytes / max(memory.total_bytes, 1)
    return f"{free:.0f} % of the memory is available" if free < settings.memory_free_percent else None


def claim_of(mode: Mode, settings: CoexistenceSettings) -> Claim:
    match mode:
        case Mode.FULL:
            return FULL
        case Mode.MODEST:
            return Claim(mode, settings.modest_idle_ttl_s, settings.modest_sequences)
        case Mode.MINIMAL:
            return Claim(mode, settings.minimal_idle_ttl_s, settings.minimal_sequences)


def may_preload(now: Coexistence, seen: Sight, settings: CoexistenceSettings) -> bool:
    """Whether what had to go may be loaded again."""
    typed = seen.untouched_s is not None and seen.untouched_s < settings.preload_pause_s
    return settings.preload and now.mode is Mode.FULL and not now.since and not typed


@dataclass(frozen=True)
class Used:
    """CPU seconds at one time: of everybody, and of roost with its workers."""

    at_s: float
    busyness: Busyness
    own_cpu_s: float


def others_percent(before: Used | None, now: Used) -> float | None:
    """Share of all cores that others used between two looks; None: it cannot be told. A worker that ended between
    them took its count with it: its last moments are then counted as nobody's."""
    if before is None or before.busyness.used_cpu_s is None or now.busyness.used_cpu_s is None:
        return None
    whole_s = (now.at_s - before.at_s) * now.busyness.cores
    if whole_s <= 0:
        return None
    own_s = now.own_cpu_s - before.own_cpu_s
    if own_s < 0:
        return None
    used_s = now.busyness.used_cpu_s - before.busyness.used_cpu_s - own_s
    return min(max(100 * used_s / whole_s, 0.0), 100.0)

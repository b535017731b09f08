"""Four levels of alarm, from what the machine says of its memory: a pure step with dwell times. It fails closed.

The level rises once its cause has lasted, falls once it has been gone for longer, and every change says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

#: So long a cause must last before the level rises, and be gone before it falls.
RISE_S, FALL_S = 5.0, 30.0
#: Shares of the last ten seconds in which some, or all processes waited for memory (PSI).
YELLOW_SOME, ORANGE_SOME, RED_FULL = 5.0, 15.0, 5.0
#: The compressor of an idle Mac breathes; growing by more between two looks is pressure.
COMPRESSOR_NOISE_BYTES = 16 * 2**20


class Level(IntEnum):
    GREEN = 0
    YELLOW = 1
    ORANGE = 2
    RED = 3


class Action(StrEnum):
    """What the guard does while a level is called for; for people too."""

    STOP_ADMITTING = "take no new load and no new sequence"
    SHED_BATCH = "answer batch work that waits"
    CANCEL_BATCH = "cancel batch work that runs, the newest first"
    CANCEL_NEWEST = "cancel the newest request, batch work first"
    UNLOAD_IDLE = "unload idle workers"
    DROP_CACHES = "drop the cached prompts of idle workers that stay"
    KILL_LARGEST = "end the largest worker that is not pinned"


_YELLOW = (Action.STOP_ADMITTING, Action.SHED_BATCH)
_ORANGE = (*_YELLOW, Action.CANCEL_BATCH, Action.UNLOAD_IDLE)

#: In the order in which they are done. Caches are dropped last: who is unloaded has none.
ACTIONS: Mapping[Level, tuple[Action, ...]] = {
    Level.GREEN: (),
    Level.YELLOW: (*_YELLOW, Action.DROP_CACHES),
    Level.ORANGE: (*_ORANGE, Action.DROP_CACHES),
    Level.RED: (*_ORANGE, Action.CANCEL_NEWEST, Action.DROP_CACHES, Action.KILL_LARGEST),
}


@dataclass(frozen=True)
class Observation:
    """One look at the machine; deltas are since the look before."""

    at_s: float
    #: None: a sensor failed, and this says which and why.
    available_bytes: int | None
    failure: str = ""
    floor_bytes: int = 0
    #: Held back for the watch, on top of the floor.
    reserve_bytes: int = 0
    swapped_out_bytes: int = 0
    compressed_bytes: int = 0
    some_percent: float | None = None
    full_percent: float | None = None
    #: macOS: 1, 2 or 4.
    pressure_level: int | None = None
    #: Somebody is loaded: swapping of others before that is not ours to answer.
    has_resident: bool = True
    #: Workers that are beyond the line at which they are killed.
    over_kill_line: tuple[str, ...] = ()
    #: A cgroup of ours was throttled or lost a process since the last look.
    cgroup_events: int = 0


@dataclass(frozen=True)
class Tripwire:
    """The alarm so far."""

    level: Level = Level.GREEN
    #: Since when each level above the present one has been called for without a break.
    called_since: Mapping[Level, float] = field(default_factory=dict)
    #: Since when nothing has called for the present level; None: something does.
    quiet_since: float | None = None
    #: What called for the present level, with its numbers.
    reasons: tuple[str, ...] = ()


def actions(alarm: Tripwire, seen: Observation) -> tuple[Action, ...]:
    """What is to be done now. A level outlasts its cause, and a sensor that fails raises one: loads and sequences are
    refused all that time, and nobody loses anything for what is over, or what nobody saw."""
    if seen.available_bytes is None and not seen.over_kill_line:
        return () if alarm.level is Level.GREEN else (Action.STOP_ADMITTING,)
    return ACTIONS[min(alarm.level, max(called_for(seen), default=Level.GREEN))]


def step(alarm: Tripwire, seen: Observation) -> Tripwire:
    """The alarm after one more look."""
    causes = called_for(seen)
    if seen.over_kill_line:
        # Its own limit is passed: nothing is waited for.
        return Tripwire(Level.RED, reasons=causes[Level.RED])
    if seen.available_bytes is None:
        # Blind: at least careful at once, and no calmer than before until it sees again.
        level = max(alarm.level, Level.YELLOW)
        return Tripwire(level, {}, None, (*causes[Level.YELLOW], *(alarm.reasons if level is alarm.level else ())))
    wanted = max(causes, default=Level.GREEN)
    since = {level: alarm.called_since.get(level, seen.at_s) for level in Level if alarm.level < level <= wanted}
    risen = max((level for level, start in since.items() if seen.at_s - start >= RISE_S), default=alarm.level)
    if risen > alarm.level:
        still = {level: start for level, start in since.items() if level > risen}
        return Tripwire(risen, still, None, _reasons(causes, risen))
    if wanted >= alarm.level:
        return Tripwire(alarm.level, since, None, _reasons(causes, alarm.level) or alarm.reasons)
    quiet = alarm.quiet_since if alarm.quiet_since is not None else seen.at_s
    if seen.at_s - quiet >= FALL_S:
        return Tripwire(wanted, {}, None, _reasons(causes, wanted))
    return Tripwire(alarm.level, since, quiet, alarm.reasons)


def _reasons(causes: Mapping[Level, tuple[str, ...]], level: Level) -> tuple[str, ...]:
    return tuple(reason for cause, reasons in causes.items() if cause >= level > Level.GREEN for reason in reasons)


def called_for(seen: Observation) -> dict[Level, tuple[str, ...]]:
    """Which levels this look calls for, each with its reasons."""
    found: dict[Level, list[str]] = {}
    for level, reason in (*_by_memory(seen), *_by_pressure(seen), *_by_events(seen)):
        found.setdefault(level, []).append(reason)
    return {level: tuple(reasons) for level, reasons in sorted(found.items(), reverse=True)}


def _by_memory(seen: Observation) -> list[tuple[Level, str]]:
    available, floor = seen.available_bytes, seen.floor_bytes
    if available is None:
        return [(Level.YELLOW, f"memory cannot be read: {seen.failure or 'no reason given'}")]
    text = f"{_mib(available)} available, the floor is {_mib(floor)}"
    if available < floor / 2:
        return [(Level.RED, text)]
    if available < floor:
        return [(Level.ORANGE, text)]
    if available < floor + seen.reserve_bytes:
        return [(Level.YELLOW, f"{text} and {_mib(seen.reserve_bytes)} are held back")]
    return []


def _by_pressure(seen: Observation) -> list[tuple[Level, str]]:
    some, full, level = seen.some_percent or 0.0, seen.full_percent or 0.0, seen.pressure_level or 1
    found = []
    if full > RED_FULL:
        found.append((Level.RED, f"all processes waited for memory {full:.1f} % of the time"))
    if some > ORANGE_SOME:
        found.append((Level.ORANGE, f"processes waited for memory {some:.1f} % of the time"))
    elif some > YELLOW_SOME:
        found.append((Level.YELLOW, f"processes waited for memory {some:.1f} % of the time"))
    if level >= 4:
        found.append((Level.RED, "the system says that memory pressure is critical"))
    elif level >= 2:
        found.append((Level.YELLOW, "the system warns of memory pressure"))
    return found


def _by_events(seen: Observation) -> list[tuple[Level, str]]:
    found = [(Level.RED, f"{worker} is beyond its limit") for worker in seen.over_kill_line]
    if seen.swapped_out_bytes > 0 and seen.has_resident:
        found.append((Level.ORANGE, f"{_mib(seen.swapped_out_bytes)} were swapped out while a model is loaded"))
    if seen.compressed_bytes > COMPRESSOR_NOISE_BYTES:
        found.append((Level.YELLOW, f"the compressor grew by {_mib(seen.compressed_bytes)}"))
    if seen.cgroup_events > 0:
        found.append((Level.ORANGE, f"{seen.cgroup_events} memory events in roost's control group"))
    return found


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"

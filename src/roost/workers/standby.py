"""Warm standby, decided: the life of a spare as a table, and which spares to start or end. Pure: no clock, no process.

A spare is a process with an engine's imports done and no weights. It becomes the worker of whatever model of that
engine is started next, which leaves the place of the spare empty until the next one is started.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum

from roost.engines.standby import RESERVE_SHARE, has_room, is_tight


class State(StrEnum):
    #: No process.
    ABSENT = "absent"
    #: Started; its imports are not done. It may become a worker already.
    IMPORTING = "importing"
    #: Waits to be told its model.
    STANDBY = "standby"
    #: Being ended; its memory is not free yet.
    ENDING = "ending"
    #: Ended by itself: no other until a time.
    BACKOFF = "backoff"
    #: Ended by itself too often: no other until the settings or the engine change.
    FAILED = "failed"


class Event(StrEnum):
    START = "start"
    IMPORTED = "imported"
    #: It became a worker.
    TAKEN = "taken"
    #: Not wanted any more: turned off, made with other settings, no memory, the end of roost.
    END = "end"
    EXITED = "exited"
    EXITED_TOO_OFTEN = "exited too often"
    RETRY_DUE = "retry due"
    #: What would be started is another thing than what failed.
    CHANGED = "changed"


class Effect(StrEnum):
    NOTHING = "nothing"
    SPAWN = "spawn"
    KILL = "kill"


S, E, F = State, Event, Effect

TABLE: dict[tuple[State, Event], tuple[State, Effect]] = {
    (S.ABSENT, E.START): (S.IMPORTING, F.SPAWN),
    (S.IMPORTING, E.IMPORTED): (S.STANDBY, F.NOTHING),
    (S.IMPORTING, E.TAKEN): (S.ABSENT, F.NOTHING),
    (S.IMPORTING, E.END): (S.ENDING, F.KILL),
    (S.IMPORTING, E.EXITED): (S.BACKOFF, F.NOTHING),
    (S.IMPORTING, E.EXITED_TOO_OFTEN): (S.FAILED, F.NOTHING),
    (S.STANDBY, E.TAKEN): (S.ABSENT, F.NOTHING),
    (S.STANDBY, E.END): (S.ENDING, F.KILL),
    (S.STANDBY, E.EXITED): (S.BACKOFF, F.NOTHING),
    (S.STANDBY, E.EXITED_TOO_OFTEN): (S.FAILED, F.NOTHING),
    (S.ENDING, E.EXITED): (S.ABSENT, F.NOTHING),
    (S.BACKOFF, E.RETRY_DUE): (S.ABSENT, F.NOTHING),
    (S.BACKOFF, E.CHANGED): (S.ABSENT, F.NOTHING),
    (S.FAILED, E.CHANGED): (S.ABSENT, F.NOTHING),
}

#: A process that can become a worker.
LIVE = frozenset({S.IMPORTING, S.STANDBY})

#: After a load, the first requests get the machine for so long before the next spare's imports take a share of it.
REFILL_AFTER_S = 10.0
#: While requests run they keep it for longer: a first prompt may be long, and traffic may never end.
REFILL_BUSY_S = 60.0
#: How often it is looked whether there is room by now.
ROOM_PERIOD_S = 30.0


def allows(state: State, event: Event) -> bool:
    """Facts that mean nothing in a state are dropped."""
    return (state, event) in TABLE


@dataclass(frozen=True)
class SpareView:
    """The place for the spare of one engine."""

    engine: str
    state: State
    #: Digest of what a spare would be now; None: none is wanted.
    wanted: str | None
    #: Of what the present one is, or the one that failed last.
    present: str | None
    #: Measured, else declared by the engine.
    size_bytes: int


@dataclass(frozen=True)
class View:
    """All that decides. Times are monotonic seconds."""

    spares: tuple[SpareView, ...]
    available_bytes: int
    total_bytes: int
    #: Of the memory that models may have, what nobody was promised.
    unpromised_bytes: int = sys.maxsize
    #: The guard of memory has raised an alarm.
    alarm: bool = False
    #: A model is being loaded, or stopped.
    moving: bool = False
    #: When that was so last; None: never.
    moved_at: float | None = None
    #: Requests are being served.
    busy: bool = False
    #: roost is shutting down.
    closing: bool = False


@dataclass(frozen=True)
class Plan:
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    #: Failures that are of the past.
    forget: tuple[str, ...] = ()
    #: When time alone, or memory that somebody gave back, may change the answer; None: only a fact can.
    wake_at: float | None = None


def plan(view: View, now: float) -> Plan:
    """The next actions. The questions, in order: which spares have no use; which must go for memory's sake; which one
    may be started. One at a time, in the order given."""
    unwanted = tuple(s.engine for s in view.spares if s.state in LIVE and (view.closing or s.wanted != s.present))
    if view.closing:
        return Plan(end=unwanted)
    forget = tuple(s.engine for s in view.spares if s.state in (S.BACKOFF, S.FAILED) and s.wanted != s.present)
    live = tuple(s.engine for s in view.spares if s.state in LIVE and s.engine not in unwanted)
    if view.alarm or view.unpromised_bytes < 0:
        return Plan(end=(*unwanted, *live), forget=forget, wake_at=now + ROOM_PERIOD_S)
    if is_tight(view.available_bytes, view.total_bytes):
        return Plan(end=(*unwanted, *live[-1:]), forget=forget, wake_at=now + ROOM_PERIOD_S)
    start, wake_at = _next_start(view, now)
    return Plan(start, unwanted, forget, wake_at)


def _next_start(view: View, now: float) -> tuple[tuple[str, ...], float | None]:
    missing = [s for s in view.spares if s.state is S.ABSENT and s.wanted is not None]
    occupied = any(s.state in (S.IMPORTING, S.ENDING) for s in view.spares)
    if not missing or view.moving or occupied:
        return (), None
    if view.moved_at is not None:
        if view.moved_at + REFILL_AFTER_S > now:
            return (), view.moved_at + REFILL_AFTER_S
        if view.busy and view.moved_at + REFILL_BUSY_S > now:
            return (), min(now + REFILL_AFTER_S, view.moved_at + REFILL_BUSY_S)
    for spare in missing:
        promisable = spare.size_bytes <= view.unpromised_bytes
        if promisable and has_room(spare.size_bytes, view.available_bytes, view.total_bytes):
            return (spare.engine,), None
    return (), now + ROOM_PERIOD_S


def why_absent(spare: SpareView, available_bytes: int, total_bytes: int) -> str | None:
    """Why there is no spare although one is wanted, as far as it needs a person; None: it is there, or will be."""
    if spare.wanted is None or spare.state is not S.ABSENT or has_room(spare.size_bytes, available_bytes, total_bytes):
        return None
    return (
        f"there is no room for a spare of {spare.engine}: it takes {spare.size_bytes / 10**9:.1f} GB, "
        f"{available_bytes / 10**9:.1f} GB are free and {RESERVE_SHARE * total_bytes / 10**9:.1f} GB must stay so"
    )

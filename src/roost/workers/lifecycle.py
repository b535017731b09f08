"""The life of one model's worker as a table. No clock and no process here: `step` is pure.

Facts carry the number of the start that they speak of; the supervisor drops stale ones before they get here.
The page of the docs with its diagram is generated from this table by reference.py.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    #: No process; a start is allowed.
    STOPPED = "stopped"
    #: Process started, weights on their way.
    LOADING = "loading"
    #: The engine says that it can generate; whose weights it serves is being checked.
    PROVING = "proving"
    #: Proven. The only state in which requests are sent.
    READY = "ready"
    #: Asked to go: finishes what runs, takes nothing new.
    DRAINING = "draining"
    #: Told to give its memory back and stay.
    PARKING = "parking"
    #: Seen to have given it back; its process waits for the next request.
    PARKED = "parked"
    #: Told to end, or killed; its memory is not free yet.
    STOPPING = "stopping"
    #: Failed twice in a row: no start until a time.
    BACKOFF = "backoff"
    #: Failed too often: no start until a person says so.
    FAILED = "failed"


class Event(StrEnum):
    START = "start"
    HEALTHY = "healthy"
    VERIFIED = "verified"
    UNPROVEN = "unproven"
    LOAD_STALLED = "load stalled"
    #: It says itself that it cannot serve, or is a server elsewhere that nobody answers for.
    UNUSABLE = "unusable"
    WEDGED = "wedged"
    DRAIN = "drain"
    DRAINED = "drained"
    DRAIN_TIMEOUT = "drain timeout"
    #: Nothing runs any more, and it can stay without its memory.
    PARK = "park"
    #: Its memory is back; or it was to take memory again and there was none.
    PARKED = "parked"
    PARK_FAILED = "park failed"
    #: The process is gone; a new start is allowed at once.
    EXITED = "exited"
    #: Gone in or after a failed load, not for the first time in a row.
    EXITED_AGAIN = "exited again"
    EXITED_TOO_OFTEN = "exited too often"
    RETRY_DUE = "retry due"
    #: A person asks for another try.
    RESET = "reset"


class Effect(StrEnum):
    NOTHING = "nothing"
    SPAWN = "spawn"
    PARK = "give memory back"
    WAKE = "take memory again"
    PROVE = "prove"
    ADMIT = "admit requests"
    TERMINATE = "terminate"
    KILL = "kill"


S, E, F = State, Event, Effect

TABLE: dict[tuple[State, Event], tuple[State, Effect]] = {
    (S.STOPPED, E.START): (S.LOADING, F.SPAWN),
    (S.STOPPED, E.RESET): (S.STOPPED, F.NOTHING),
    (S.LOADING, E.HEALTHY): (S.PROVING, F.PROVE),
    (S.LOADING, E.LOAD_STALLED): (S.STOPPING, F.KILL),
    (S.LOADING, E.UNUSABLE): (S.STOPPING, F.KILL),
    (S.LOADING, E.DRAIN): (S.STOPPING, F.TERMINATE),
    (S.LOADING, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.LOADING, E.EXITED_AGAIN): (S.BACKOFF, F.NOTHING),
    (S.LOADING, E.EXITED_TOO_OFTEN): (S.FAILED, F.NOTHING),
    (S.PROVING, E.VERIFIED): (S.READY, F.ADMIT),
    (S.PROVING, E.UNPROVEN): (S.STOPPING, F.KILL),
    (S.PROVING, E.LOAD_STALLED): (S.STOPPING, F.KILL),
    (S.PROVING, E.DRAIN): (S.STOPPING, F.TERMINATE),
    (S.PROVING, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.PROVING, E.EXITED_AGAIN): (S.BACKOFF, F.NOTHING),
    (S.PROVING, E.EXITED_TOO_OFTEN): (S.FAILED, F.NOTHING),
    (S.READY, E.DRAIN): (S.DRAINING, F.NOTHING),
    (S.READY, E.WEDGED): (S.STOPPING, F.KILL),
    (S.READY, E.UNUSABLE): (S.STOPPING, F.KILL),
    (S.READY, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.DRAINING, E.DRAIN): (S.DRAINING, F.NOTHING),
    (S.DRAINING, E.DRAINED): (S.STOPPING, F.TERMINATE),
    (S.DRAINING, E.DRAIN_TIMEOUT): (S.STOPPING, F.TERMINATE),
    (S.DRAINING, E.WEDGED): (S.STOPPING, F.KILL),
    (S.DRAINING, E.UNUSABLE): (S.STOPPING, F.KILL),
    (S.DRAINING, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.DRAINING, E.PARK): (S.PARKING, F.PARK),
    (S.PARKING, E.DRAIN): (S.STOPPING, F.TERMINATE),
    (S.PARKING, E.PARKED): (S.PARKED, F.NOTHING),
    (S.PARKING, E.PARK_FAILED): (S.STOPPING, F.TERMINATE),
    (S.PARKING, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.PARKED, E.START): (S.LOADING, F.WAKE),
    (S.PARKED, E.DRAIN): (S.STOPPING, F.TERMINATE),
    (S.PARKED, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.LOADING, E.PARKED): (S.PARKED, F.NOTHING),
    (S.STOPPING, E.DRAIN): (S.STOPPING, F.NOTHING),
    (S.STOPPING, E.EXITED): (S.STOPPED, F.NOTHING),
    (S.STOPPING, E.EXITED_AGAIN): (S.BACKOFF, F.NOTHING),
    (S.STOPPING, E.EXITED_TOO_OFTEN): (S.FAILED, F.NOTHING),
    (S.BACKOFF, E.RETRY_DUE): (S.STOPPED, F.NOTHING),
    (S.BACKOFF, E.RESET): (S.STOPPED, F.NOTHING),
    (S.FAILED, E.RESET): (S.STOPPED, F.NOTHING),
}

#: States in which a process may hold memory.
OCCUPYING = frozenset({S.LOADING, S.PROVING, S.READY, S.DRAINING, S.PARKING, S.STOPPING})
#: States that end by themselves, soon, in another.
MOVING = OCCUPYING - {S.READY}
#: States of a model that holds no memory and may be started, with or without a process.
STARTABLE = frozenset({S.STOPPED, S.PARKED})
#: States that end in READY when nothing goes wrong.
COMING = frozenset({S.LOADING, S.PROVING})


class NoTransition(Exception):
    """The table has no row: the event means nothing in this state and is refused."""


def step(state: State, event: Event) -> tuple[State, Effect]:
    """The next state and what must be done. Raises NoTransition where the table has no row."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise NoTransition(f"{event.value!r} means nothing in state {state.value!r}") from None


def allows(state: State, event: Event) -> bool:
    return (state, event) in TABLE

"""Who has been promised which memory: a table of states, and a book of entries that only it changes.

Memory is reserved before a process starts and counts until it was seen to come back: a worker that drains or is being
released still holds it. No clock, no process and no file here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    #: Promised; no process yet.
    RESERVED = "reserved"
    #: The process runs, weights are on their way.
    LOADING = "loading"
    RESIDENT = "resident"
    #: Asked to go; finishes what runs.
    DRAINING = "draining"
    #: The process is gone or killed; that its memory came back is not seen yet.
    RELEASING = "releasing"
    #: Seen to have come back: the promise is void.
    FREE = "free"


class Event(StrEnum):
    SPAWNED = "spawned"
    READY = "ready"
    DRAIN = "drain"
    #: The process has ended, as it was told or by itself, or was killed.
    ENDED = "ended"
    #: Its memory was seen to have come back.
    VERIFIED = "verified"
    #: The start was given up before there was a process.
    GIVEN_UP = "given up"


S, E = State, Event

TABLE: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (S.RESERVED, E.SPAWNED): S.LOADING,
        (S.RESERVED, E.GIVEN_UP): S.FREE,
        (S.LOADING, E.READY): S.RESIDENT,
        (S.LOADING, E.DRAIN): S.DRAINING,
        (S.LOADING, E.ENDED): S.RELEASING,
        (S.RESIDENT, E.DRAIN): S.DRAINING,
        (S.RESIDENT, E.ENDED): S.RELEASING,
        # A load that was asked to go may still finish before it notices.
        (S.DRAINING, E.READY): S.DRAINING,
        (S.DRAINING, E.DRAIN): S.DRAINING,
        (S.DRAINING, E.ENDED): S.RELEASING,
        (S.RELEASING, E.DRAIN): S.RELEASING,
        (S.RELEASING, E.ENDED): S.RELEASING,
        (S.RELEASING, E.VERIFIED): S.FREE,
    }
)


def step(state: State, event: Event) -> State | None:
    """The next state; None: the event means nothing there."""
    return TABLE.get((state, event))


@dataclass(frozen=True)
class Entry:
    """One start's promise."""

    id: str
    model_id: str
    bytes_by_device: Mapping[str, int]
    state: State = State.RESERVED
    #: Of its process, once there is one; the start stamp tells it from a later process with the same pid.
    pid: int | None = None
    started: str | None = None


@dataclass(frozen=True)
class Ledger:
    """All promises that count. Immutable: each change is a new ledger."""

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def reserve(self, entry: Entry) -> Ledger:
        """Raises ValueError for an id that is in the book: a promise is made once."""
        if entry.id in self.entries:
            raise ValueError(f"{entry.id} has a promise already")
        return Ledger({**self.entries, entry.id: replace(entry, state=State.RESERVED)})

    def post(self, entry_id: str, event: Event, *, pid: int | None = None, started: str | None = None) -> Ledger:
        """The ledger after a fact. A fact about nobody, or one that means nothing in its state, changes nothing."""
        entry = self.entries.get(entry_id)
        after = step(entry.state, event) if entry else None
        if entry is None or after is None:
            return self
        rest = {key: value for key, value in self.entries.items() if key != entry_id}
        if after is State.FREE:
            return Ledger(rest)
        known = replace(entry, state=after, pid=pid or entry.pid, started=started or entry.started)
        return Ledger({**rest, entry_id: known})

    def resized(self, entry_id: str, bytes_by_device: Mapping[str, int]) -> Ledger:
        """The ledger with another size of a promise, for whom its holder was seen to take it. Of nobody: as it is."""
        entry = self.entries.get(entry_id)
        if entry is None:
            return self
        return Ledger({**self.entries, entry_id: replace(entry, bytes_by_device=bytes_by_device)})

    def devices(self, entry_id: str) -> tuple[str, ...]:
        """Those on which it has a promise."""
        return tuple(self.entries[entry_id].bytes_by_device) if entry_id in self.entries else ()

    def reserved_on(self, device: str) -> int:
        """Bytes promised on one device, whatever the state."""
        return sum(entry.bytes_by_device.get(device, 0) for entry in self.entries.values())

    def reconciled(self, living: Iterable[tuple[int, str]]) -> Ledger:
        """After a crash: entries whose process lives under the same start stamp stay; one that never had a process is
        void; of the others the memory has yet to be seen."""
        alive = set(living)
        ledger = self
        for entry in self.entries.values():
            if entry.pid is None or entry.started is None:
                ledger = ledger.post(entry.id, Event.GIVEN_UP)
            elif (entry.pid, entry.started) not in alive:
                ledger = ledger.post(entry.id, Event.ENDED)
        return ledger

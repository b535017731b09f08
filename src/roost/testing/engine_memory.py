"""What the stand-in engine takes of memory: real pages, at once, for a while, or more and more."""

from __future__ import annotations

import mmap
import threading
import time
from dataclasses import dataclass, field

MIB = 2**20
#: A leak takes a bite each time.
_BITE_S = 0.05


@dataclass(frozen=True)
class Appetite:
    """Of the whole process; sizes in MiB."""

    #: Held from the start of the load on.
    hold_mib: int = 0
    #: Besides, until the end of the load.
    spike_mib: int = 0
    #: More each second, without an end but `leak_most_mib`: a test that fails must not take the machine along.
    leak_mib_s: int = 0
    leak_most_mib: int = 1024
    #: The leak begins with the load instead of after it.
    leaks_in_load: bool = False


@dataclass
class Larder:
    """Pages that this process has touched."""

    appetite: Appetite = field(default_factory=Appetite)
    #: MiB that requests left behind.
    kept_mib: int = 0
    _kept: list[mmap.mmap | None] = field(default_factory=list)
    _spike: mmap.mmap | None = None
    _held: list[mmap.mmap | None] = field(default_factory=list)

    def begin_load(self) -> None:
        """Blocks until the pages are there."""
        self._held.append(take(self.appetite.hold_mib))
        self._spike = take(self.appetite.spike_mib)
        if self.appetite.leaks_in_load:
            self._begin_leak()

    def end_load(self) -> None:
        give_back(self._spike)
        if not self.appetite.leaks_in_load:
            self._begin_leak()

    def keep(self, size_mib: int, most_mib: int | None) -> None:
        """Of a request, for ever, unless all of them would have more than `most_mib`."""
        if most_mib is None or self.kept_mib + size_mib <= most_mib:
            self.kept_mib += size_mib
            self._kept.append(take(size_mib))

    def drop_kept(self) -> None:
        while self._kept:
            give_back(self._kept.pop())
        self.kept_mib = 0

    def _begin_leak(self) -> None:
        if self.appetite.leak_mib_s:
            threading.Thread(target=self._leak, daemon=True).start()

    def _leak(self) -> None:
        """At the pace asked for, whatever one bite takes."""
        began, taken = time.monotonic(), 0
        while taken < self.appetite.leak_most_mib:
            due = min(round((time.monotonic() - began) * self.appetite.leak_mib_s), self.appetite.leak_most_mib)
            self._held.append(take(due - taken))
            taken = max(due, taken)
            time.sleep(_BITE_S)


def take(size_mib: int) -> mmap.mmap | None:
    """Anonymous memory, every page of it written."""
    if size_mib <= 0:
        return None
    taken = mmap.mmap(-1, size_mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken[:: mmap.PAGESIZE] = b"\x01" * (size_mib * MIB // mmap.PAGESIZE)
    return taken


def give_back(taken: mmap.mmap | None) -> None:
    if taken is not None:
        taken.close()

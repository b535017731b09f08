"""The registry that serves now: each valid file is swapped in whole, a broken one leaves the last good one serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from roost.config.watch import INTERVAL_S, FileWatch
from roost.registry.file import read
from roost.registry.types import Registry, RegistryProblem, RegistryState

OnChange = Callable[[RegistryState, RegistryState], None]


def follow(state: RegistryState, reading: Registry | RegistryProblem) -> RegistryState:
    """The state after one more reading of the file. Pure."""
    if isinstance(reading, RegistryProblem):
        return replace(state, problem=reading)
    return RegistryState(reading)


class RegistryWatcher:
    """Owns the current RegistryState. Made and used in the event loop's thread; `state` is what requests read."""

    def __init__(
        self, path: Path, on_change: OnChange = lambda old, new: None, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._interval_s = interval_s
        self._refreshes = 0
        self._watch = FileWatch([path], self._file_changed, interval_s=interval_s)
        self._state = follow(RegistryState(Registry()), read(path))

    @property
    def state(self) -> RegistryState:
        """A problem beside an empty registry (digest "") means that no good file was ever read."""
        return self._state

    async def run(self) -> None:
        """Follows the file until cancelled. `on_change(old, new)` is called in this thread after each swap, and when
        a problem appears or goes; `old.registry is new.registry` when only the problem changed."""
        await self._watch.run()

    def poke(self) -> None:
        """Look at the file at once instead of at the next interval."""
        self._watch.poke()

    def refresh(self) -> RegistryState:
        """Reads the file now, for whoever has just written it, and returns what serves."""
        self._refreshes += 1
        self._take(read(self._path))
        return self._state

    async def _file_changed(self, changed: frozenset[Path]) -> None:
        reading = await self._read()
        if _is_absent(reading) and not _is_absent(self._state.registry):
            # tools that activate a new file often remove the old one first: look again before dropping every role
            await asyncio.sleep(self._interval_s)
            reading = await self._read()
        self._take(reading)

    async def _read(self) -> Registry | RegistryProblem:
        """In a thread; anew when a refresh came in between, whose reading is the younger one."""
        while True:
            refreshes = self._refreshes
            reading = await asyncio.to_thread(read, self._path)
            if refreshes == self._refreshes:
                return reading

    def _take(self, reading: Registry | RegistryProblem) -> None:
        old, new = self._state, follow(self._state, reading)
        if new.registry.digest == old.registry.digest:
            new = replace(new, registry=old.registry)
        if new == old:
            return
        self._state = new
        self._on_change(old, new)


def _is_absent(reading: Registry | RegistryProblem) -> bool:
    return isinstance(reading, Registry) and not reading.digest

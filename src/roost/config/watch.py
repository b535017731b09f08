"""Noticing that a file changed: a cheap look at its stat every half second, no thread and no OS-specific service.

Polling sees what notification services miss: a symlink pointed elsewhere, a network home, a file not there yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.5
#: A file changed so recently may change again without its times telling: kernel ticks are 1-10 ms, some file systems
#: round to 2 s but roost's files do not live there. Its content is compared until it is older.
_RACY_NS = 100_000_000
#: Enough for any settings, registry or certificate; beyond it a change of times alone counts.
_HASHED_BYTES = 4 * 2**20

OnChange = Callable[[frozenset[Path]], Awaitable[None]]
Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Seen:
    """A file as it was at one look; `stamp` is None when it is not there or not readable."""

    stamp: Stamp | None
    #: sha256 of the content, or the reason why there is none.
    content: str
    #: Its times are too young to prove that it did not change since.
    racy: bool = False


class FileWatch:
    """Watches files by path, existing or not. Make it before the first read, so that no change falls in between."""

    def __init__(self, paths: Iterable[Path], on_change: OnChange, *, interval_s: float = INTERVAL_S) -> None:
        self._on_change = on_change
        self._interval_s = interval_s
        self._seen = {path: look(path) for path in paths}
        self._poked = asyncio.Event()

    async def run(self) -> None:
        """Looks until cancelled; awaits `on_change` with the paths whose content differs."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._poked.wait()
            self._poked.clear()
            if changed := self._changed():
                await self._on_change(changed)

    def poke(self) -> None:
        """Look now: for whoever has just written one of the files. Call it in the event loop's thread."""
        self._poked.set()

    def _changed(self) -> frozenset[Path]:
        before = self._seen
        self._seen = {path: look(path, seen) for path, seen in before.items()}
        return frozenset(path for path, seen in self._seen.items() if seen.content != before[path].content)


def look(path: Path, last: Seen | None = None) -> Seen:
    """The file now. Its content is read only when its stat differs from `last` or is too young to be trusted."""
    try:
        stamp = _stamp(path)
        if last is not None and stamp == last.stamp and not last.racy:
            return last
        content = _digest(path, stamp)
    except OSError as error:
        return Seen(None, f"unreadable: {error.errno}")
    return Seen(stamp, content, racy=abs(time.time_ns() - stamp[1]) < _RACY_NS)


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _digest(path: Path, stamp: Stamp) -> str:
    if not path.is_file():  # opening a pipe would wait for its writer
        return "not a file"
    if stamp[2] > _HASHED_BYTES:
        return repr(stamp)
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def watch(paths: Iterable[Path], on_change: OnChange, interval_s: float = INTERVAL_S) -> None:
    """`FileWatch` for callers that never poke."""
    await FileWatch(paths, on_change, interval_s=interval_s).run()

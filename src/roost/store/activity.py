"""The activity log: requests append to memory, a writer puts batches into the database off the request path.

A full disk, a lock or a damaged file never fails a request: rows wait in memory (bounded, oldest dropped first and
counted), `problem()` says so, and the writer tries again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from roost.store.backlog import Backlog
from roost.store.storable import storable
from roost.store.types import ActivityRow
from roost.store.writer import Writer, WriterSettings


@dataclass(frozen=True)
class ActivitySettings:
    """Sizes and times of the log; a row takes about 1 KiB of memory."""

    #: Rows that `recent` can show; read back from the database at start.
    memory_rows: int = 2000
    #: Rows that wait while the database cannot be written; beyond it the oldest are dropped.
    unwritten_rows: int = 10_000
    #: How long a row may wait for company before it is written, in seconds.
    batch_interval_s: float = 0.25
    #: Between tries while the database cannot be written, in seconds.
    retry_interval_s: float = 5.0
    #: How long the last write may take when the daemon stops, in seconds.
    last_write_s: float = 3.0
    writer: WriterSettings = field(default_factory=WriterSettings)


class ActivityStore:
    """Implements `types.ActivityLog`. `record` and `recent` belong to the event loop's thread; only while `run` runs
    does anything reach the disk."""

    def __init__(
        self, path: Path, settings: ActivitySettings | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings or ActivitySettings()
        self._recent: deque[ActivityRow] = deque(maxlen=self._settings.memory_rows)
        self._backlog = Backlog(self._settings.unwritten_rows)
        self._recorded = asyncio.Event()
        self._writer = Writer(path, self._backlog, self._settings.writer, now)

    @property
    def unwritten(self) -> int:
        """Rows that are only in memory, but for a batch that is being written."""
        return len(self._backlog)

    @property
    def dropped(self) -> int:
        """Rows that never reached the database because it could not be written for too long."""
        return self._backlog.dropped

    def record(self, row: ActivityRow) -> None:
        """Remember the request; returns at once and never fails it."""
        row = storable(row)
        self._recent.append(row)
        self._backlog.add(row)
        self._recorded.set()

    def recent(self, limit: int = 100, model: str | None = None) -> list[ActivityRow]:
        """Newest first, at most as many as memory holds. `model` matches the asked and the resolved name."""
        matching = (row for row in reversed(self._recent) if model is None or model in (row.requested, row.resolved))
        return list(islice(matching, max(0, limit)))

    def problem(self) -> str | None:
        """What is wrong with the database, for status and doctor; None: nothing."""
        if self._writer.failure is None:
            return self._writer.notice
        lost = f" and {self.dropped} older ones are lost to the log" if self.dropped else ""
        waiting = f"{self.unwritten} finished requests wait in memory{lost}"
        return f"activity is not being written: {self._writer.failure}; {waiting}; requests are served all the same"

    async def run(self) -> None:
        """Write batches until cancelled, then once more, for at most `last_write_s`."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="roost-store")
        loop = asyncio.get_running_loop()
        try:
            self._remember(await loop.run_in_executor(thread, self._writer.stored, self._settings.memory_rows))
            while True:
                await self._recorded.wait()
                await asyncio.sleep(self._settings.batch_interval_s)
                self._recorded.clear()
                if not await loop.run_in_executor(thread, self._writer.flush):
                    await asyncio.sleep(self._settings.retry_interval_s)
                    self._recorded.set()
        finally:
            # A write that was under way when the cancel came finishes first: the thread is one.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.last_write_s):
                    await loop.run_in_executor(thread, self._writer.close)
            thread.shutdown(wait=False)

    def _remember(self, stored: list[ActivityRow]) -> None:
        """Put what the database holds before what was recorded since the start."""
        recorded = list(self._recent)
        self._recent.clear()
        self._recent.extend([*stored, *recorded])

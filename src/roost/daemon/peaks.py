"""Peaks between the pool, which learns them, and the database, which keeps them."""

from __future__ import annotations

import asyncio
import time

import structlog

from roost.memory.learned import Learned
from roost.memory.needs import Peak
from roost.store.peaks import PeakRow, PeakStore
from roost.workers.peaks import PeakBook

log = structlog.get_logger(__name__)


class PeakKeeper:
    """Fills the book at the start and writes down what changes; nobody waits for either."""

    def __init__(self, store: PeakStore) -> None:
        self.book = PeakBook(keep=self._changed)
        self._store = store
        self._changes: asyncio.Queue[PeakRow] = asyncio.Queue()

    def fill(self) -> None:
        """Blocking: what earlier daemons learned."""
        self.book.known.update({row.key: learned_of(row) for row in self._store.load()})

    async def run(self) -> None:
        """Writes until cancelled, then what is left."""
        try:
            while True:
                await self._save(await self._changes.get())
        finally:
            while not self._changes.empty():
                await self._save(self._changes.get_nowait())
            self._store.close()

    def notice(self) -> str | None:
        """What happened to a damaged database, for status."""
        return self._store.notice

    async def _save(self, row: PeakRow) -> None:
        """Whole, cancelled or not: the thread goes on anyhow, and the file must not be closed under it."""
        saving = asyncio.get_running_loop().run_in_executor(None, self._store.save, row)
        try:
            await asyncio.shield(saving)
        finally:
            if problem := await saving:
                log.warning("peak not kept", model=row.model_id, reason=problem)

    def _changed(self, key: str, model_id: str, learned: Learned) -> None:
        self._changes.put_nowait(row_of(key, model_id, learned, time.time()))


def row_of(key: str, model_id: str, learned: Learned, now: float) -> PeakRow:
    peak = learned.peak or Peak(0)
    sizes = (peak.host_bytes, peak.gpu_bytes, peak.clean_runs, peak.fill)
    return PeakRow(key, model_id, *sizes, learned.at_least_bytes, now)


def learned_of(row: PeakRow) -> Learned:
    """Runs that filled their caches are counted anew: they speak for lower peaks only."""
    peak = Peak(row.host_bytes, row.gpu_bytes, row.clean_runs, row.fill) if row.host_bytes else None
    return Learned(peak, at_least_bytes=row.at_least_bytes)

"""What was learned survives the way into the database and back."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from roost.daemon.peaks import PeakKeeper, learned_of, row_of
from roost.memory.learned import Learned, Run
from roost.memory.needs import Peak
from roost.store.peaks import PeakRow, PeakStore


def test_a_peak_comes_back_as_it_went() -> None:
    for learned in (Learned(Peak(7, 3, 2, 0.5), at_least_bytes=6), Learned(None, at_least_bytes=6)):
        assert learned_of(row_of("key", "org/a", learned, 1.0)) == learned


class SlowStore(PeakStore):
    """Its first save lasts until `go`; notes whether the file was closed under it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.go = threading.Event(), threading.Event()
        self.closed_early = False
        self._saving = False

    def save(self, row: PeakRow) -> str | None:
        self._saving = True
        self.began.set()
        self.go.wait(10)
        try:
            return super().save(row)
        finally:
            self._saving = False

    def close(self) -> None:
        self.closed_early |= self._saving
        super().close()


async def test_a_save_that_is_under_way_at_the_stop_is_finished_before_the_file_is_closed(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "roost.db")
    keeper = PeakKeeper(store)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        keeper.book.add("one", "a", Run(7))
        await asyncio.to_thread(store.began.wait, 10)
        keeper.book.add("two", "b", Run(8))
        running.cancel()
        await asyncio.sleep(0.05)
        assert not running.done() and not store.closed_early
        store.go.set()
    assert not store.closed_early
    assert {row.key: row.host_bytes for row in PeakStore(tmp_path / "roost.db").load()} == {"one": 7, "two": 8}

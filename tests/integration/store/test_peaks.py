"""Peaks in a real database file: kept over restarts, bounded, and no reason for anything to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from roost.store import peaks
from roost.store.peaks import PeakRow, PeakStore

ROW = PeakRow("key-a", "org/a", 10**10, 0, 1, 0.0, 0, 1000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "roost.db"


def saved(path: Path, *rows: PeakRow) -> None:
    store = PeakStore(path)
    assert [store.save(row) for row in rows] == [None] * len(rows)
    store.close()


def loaded(path: Path) -> list[PeakRow]:
    store = PeakStore(path)
    try:
        return store.load()
    finally:
        store.close()


def test_what_was_learned_is_there_after_a_restart(path: Path) -> None:
    saved(path, ROW, replace(ROW, key="key-b", at_least_bytes=5))
    assert sorted(loaded(path), key=lambda row: row.key) == [ROW, replace(ROW, key="key-b", at_least_bytes=5)]


def test_a_later_run_takes_the_place_of_an_earlier_one(path: Path) -> None:
    later = replace(ROW, host_bytes=2 * 10**10, clean_runs=2, seen_at=2000.0)
    saved(path, ROW, later)
    assert loaded(path) == [later]


def test_the_ways_of_starting_that_are_remembered_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "LARGEST_COUNT", 3)
    saved(path, *(replace(ROW, key=f"key-{number}", seen_at=float(number)) for number in range(6)))
    assert sorted(row.key for row in loaded(path)) == ["key-3", "key-4", "key-5"]


def test_a_database_that_cannot_be_used_costs_what_was_learned_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = PeakStore(tmp_path / "file" / "roost.db")
    assert store.load() == []
    problem = store.save(ROW)
    assert problem is not None and "cannot keep what was learned of org/a" in problem


def test_a_damaged_database_is_told_of_and_replaced(path: Path) -> None:
    path.write_bytes(b"no database at all" * 300)
    store = PeakStore(path)
    assert store.load() == [] and store.notice is not None and "was damaged" in store.notice
    assert store.save(ROW) is None
    store.close()

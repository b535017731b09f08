"""What was spent at clouds, over restarts of the daemon."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from roost.store.schema import cloud_spending
from roost.store.spending import SpendingRow, SpendingStore

ROW = SpendingRow("2026-11-28", "main", "m", "ci", 1, 10, 5, 0.25)


@pytest.fixture
def store(tmp_path):
    opened = SpendingStore(tmp_path / "roost.db")
    yield opened
    opened.close()


def test_the_table_has_a_column_for_each_field_of_a_row():
    assert [column.name for column in cloud_spending.columns] == [field.name for field in fields(SpendingRow)]


def test_rows_of_one_day_cloud_model_and_key_are_one_sum(store, tmp_path):
    assert store.add([ROW, ROW, replace(ROW, consumer="")]) is None
    store.add([ROW])
    store.close()
    summed = replace(ROW, requests=3, prompt_tokens=30, completion_tokens=15, usd=0.75)
    assert sorted(SpendingStore(tmp_path / "roost.db").load(ROW.day), key=lambda row: row.usd) == [
        replace(ROW, consumer=""),
        summed,
    ]


def test_other_days_are_not_loaded_and_old_ones_are_forgotten(store):
    store.add([replace(ROW, day="2025-01-01"), replace(ROW, day="2026-11-27")])
    store.add([ROW])
    assert store.load("2025-01-01") == []
    assert len(store.load("2026-11-27")) == len(store.load("2026-11-28")) == 1


def test_a_database_that_cannot_be_used_is_told_and_breaks_nothing(tmp_path):
    (tmp_path / "roost.db").mkdir()
    store = SpendingStore(tmp_path / "roost.db")
    assert store.load("2026-11-28") == []
    assert "cannot keep what was spent" in store.add([ROW])

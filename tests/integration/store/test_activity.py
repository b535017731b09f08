"""The activity log on a real file: batches, faults, restarts."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from roost.store.activity import ActivitySettings, ActivityStore
from roost.store.queries import Retention
from roost.store.writer import WriterSettings
from roost.testing.wait import until
from tests.helpers import activity_row

QUICK = ActivitySettings(batch_interval_s=0.0, retry_interval_s=0.01)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "roost.sqlite"


def activity_store(path, settings):
    """A store whose clock stands a little after the rows' arrival."""
    return ActivityStore(path, settings, now=lambda: activity_row(5000).at)


@asynccontextmanager
async def running(store):
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(store.run())
        await asyncio.sleep(0)  # one turn of the loop: a task that is cancelled before it starts never runs
        try:
            yield store
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def stored_ids(path):
    with sqlite3.connect(path) as connection:
        rows = [row[0] for row in connection.execute("SELECT request_id FROM activity ORDER BY number")]
    connection.close()
    return rows


async def test_rows_reach_the_file_in_their_order(path):
    async with running(activity_store(path, QUICK)) as store:
        for number in range(1200):
            store.record(activity_row(number))
        await until(lambda: store.unwritten == 0)
    assert stored_ids(path) == [f"r{number}" for number in range(1200)]
    assert store.problem() is None


async def test_recent_shows_the_newest_first_written_or_not(path):
    store = activity_store(path, QUICK)
    for number in range(5):
        store.record(activity_row(number))
    assert [row.request_id for row in store.recent(2)] == ["r4", "r3"]
    async with running(store):
        await until(lambda: store.unwritten == 0)
        assert [row.request_id for row in store.recent(3)] == ["r4", "r3", "r2"]


async def test_recent_filters_by_the_asked_and_the_resolved_name(path):
    store = activity_store(path, QUICK)
    store.record(activity_row(0)._replace(requested="coding", resolved="qwen"))
    store.record(activity_row(1)._replace(requested="nope", resolved=None))
    assert [row.request_id for row in store.recent(model="coding")] == ["r0"]
    assert [row.request_id for row in store.recent(model="qwen")] == ["r0"]
    assert store.recent(model="other") == []


async def test_a_restarted_daemon_remembers_before_what_it_recorded_meanwhile(path):
    async with running(activity_store(path, QUICK)) as store:
        store.record(activity_row(0))
    second = activity_store(path, QUICK)
    second.record(activity_row(1))
    async with running(second):
        await until(lambda: len(second.recent()) == 2)
        assert [row.request_id for row in second.recent()] == ["r1", "r0"]


async def test_stopping_writes_what_is_left(path):
    slow = replace(QUICK, batch_interval_s=60.0)
    async with running(activity_store(path, slow)) as store:
        store.record(activity_row(0))
    assert stored_ids(path) == ["r0"]


async def test_a_full_disk_keeps_rows_in_memory_says_so_and_heals(path):
    tiny = replace(QUICK, writer=WriterSettings(largest_bytes=48 * 1024))
    async with running(activity_store(path, tiny)) as store:
        for number in range(2000):
            store.record(activity_row(number))
        problem = await until(store.problem)
        assert "the file may have 0 MiB" in problem
        assert "finished requests wait in memory" in problem
        assert store.recent(1)[0].request_id == "r1999"
        unwritten = store.unwritten
        assert unwritten > 0
    async with running(activity_store(path, QUICK)) as healed:
        healed.record(activity_row(3000))
        await until(lambda: healed.unwritten == 0)
        assert healed.problem() is None


async def test_memory_stays_bounded_while_the_database_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("in the way")
    small = replace(QUICK, unwritten_rows=10)
    async with running(activity_store(tmp_path / "file" / "roost.sqlite", small)) as store:
        for number in range(25):
            store.record(activity_row(number))
        problem = await until(store.problem)
        await until(lambda: store.dropped == 15 and store.unwritten == 10)
        assert "cannot open" in problem
        assert "15 older ones are lost" in store.problem()


async def test_a_lock_of_another_program_only_delays(path):
    async with running(activity_store(path, QUICK)) as store:
        store.record(activity_row(0))
        await until(lambda: store.unwritten == 0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.record(activity_row(1))
        assert "locked" in await until(store.problem)
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: store.problem() is None and store.unwritten == 0)
    assert stored_ids(path) == ["r0", "r1"]


async def test_a_damaged_file_is_reported_and_the_log_goes_on(path):
    path.write_bytes(b"not a database at all" * 500)
    async with running(activity_store(path, QUICK)) as store:
        store.record(activity_row(0))
        await until(lambda: store.unwritten == 0)
        assert "was damaged; it is kept as" in store.problem()
    assert stored_ids(path) == ["r0"]
    assert len(list(path.parent.glob("*.damaged-*"))) == 1


async def test_the_table_is_pruned_while_it_is_written(path):
    pruning = WriterSettings(batch_rows=50, prune_every_rows=100, retention=Retention(max_rows=30, max_age_s=1e12))
    async with running(activity_store(path, replace(QUICK, writer=pruning))) as store:
        for number in range(400):
            store.record(activity_row(number))
        await until(lambda: store.unwritten == 0)
    assert stored_ids(path) == [f"r{number}" for number in range(370, 400)]


@pytest.mark.parametrize("text", ["\ud800", "z" * 1_000_000, "a\nb\x1b[31m"])
async def test_what_an_engine_made_up_is_stored_cut_and_never_ends_the_writer(path, text):
    hostile = activity_row(0)._replace(prompt_tokens=10**30, completion_tokens=-(10**30), finish_reason=text)
    async with running(activity_store(path, QUICK)) as store:
        store.record(hostile)
        store.record(activity_row(1))
        await until(lambda: store.unwritten == 0)
        shown = store.recent()[1]
    assert stored_ids(path) == ["r0", "r1"]
    assert shown.prompt_tokens is None and shown.completion_tokens is None
    assert shown.finish_reason and shown.finish_reason.isprintable() and len(shown.finish_reason) <= 1000

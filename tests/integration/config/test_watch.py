"""Noticing changes of real files."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from roost.config.watch import FileWatch, look, watch
from roost.testing.wait import until, until_sync

INTERVAL_S = 0.01
HOUR_S = 3600.0


def put(path: Path, text: str) -> None:
    path.write_text(text)


def age(path: Path) -> None:
    """Makes it a file of an hour ago."""
    then = time.time() - HOUR_S
    os.utime(path, (then, then))


@asynccontextmanager
async def watching(
    *paths: Path, interval_s: float = INTERVAL_S
) -> AsyncIterator[tuple[FileWatch, list[frozenset[Path]]]]:
    calls: list[frozenset[Path]] = []

    async def on_change(changed: frozenset[Path]) -> None:
        calls.append(changed)

    watcher = FileWatch(paths, on_change, interval_s=interval_s)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watcher.run())
        try:
            yield watcher, calls
        finally:
            task.cancel()


async def test_a_file_that_appears_changes_and_goes_is_told_each_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    async with watching(one, other) as (_, calls):
        for number, act in enumerate([lambda: put(one, "a"), lambda: put(one, "b"), one.unlink], 1):
            act()
            await until(lambda number=number: len(calls) == number)  # type: ignore[misc]
        assert calls == [frozenset({one})] * 3


async def test_a_poke_looks_at_once(tmp_path: Path) -> None:
    async with watching(tmp_path / "a", interval_s=HOUR_S) as (watcher, calls):
        put(tmp_path / "a", "x")
        watcher.poke()
        await until(lambda: calls)


async def test_a_touched_file_with_the_same_content_is_no_change(tmp_path: Path) -> None:
    put(tmp_path / "a", "x")
    async with watching(tmp_path / "a", tmp_path / "b") as (_, calls):
        age(tmp_path / "a")
        put(tmp_path / "b", "told")
        await until(lambda: calls)
        assert calls == [frozenset({tmp_path / "b"})]


async def test_watch_is_the_same_for_who_never_pokes(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def on_change(changed: frozenset[Path]) -> None:
        seen.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(watch([tmp_path / "a"], on_change, INTERVAL_S))
        await until(lambda: put(tmp_path / "a", str(time.monotonic_ns())) or seen.is_set())  # type: ignore[func-returns-value]
        task.cancel()


def test_an_old_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    put(path, "x")
    until_sync(lambda: not look(path).racy)
    first = look(path)
    assert look(path, first) is first


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    """The same size and times, another content: only a look at the content tells."""
    path = tmp_path / "a"
    put(path, "x")
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    first = look(path)
    assert first.racy
    put(path, "y")
    os.utime(path, ns=(now, now))
    assert look(path, first).content != first.content


def test_pipes_and_folders_are_looked_at_without_opening(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert look(tmp_path / "pipe").content == "not a file"
    assert look(tmp_path).content == "not a file"

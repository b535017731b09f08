"""The registry that serves while the file on disk changes, breaks, vanishes and comes back."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.registry.file import parse
from roost.registry.types import Registry, RegistryProblem, RegistryState
from roost.registry.watch import RegistryWatcher, follow
from roost.registry.write import set_role
from roost.testing.wait import until

NIX = (Path(__file__).parents[2] / "fixtures/registry-nix.json").read_bytes()
INTERVAL_S = 0.01

Changes = list[tuple[RegistryState, RegistryState]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "registry.json"
    found.write_bytes(NIX)
    return found


def put(path: Path, data: bytes) -> None:
    """As an editor does that writes in place."""
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


@asynccontextmanager
async def watching(path: Path, interval_s: float = INTERVAL_S) -> AsyncIterator[tuple[RegistryWatcher, Changes]]:
    changes: Changes = []
    watcher = RegistryWatcher(path, lambda old, new: changes.append((old, new)), interval_s=interval_s)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watcher.run())
        try:
            yield watcher, changes
        finally:
            task.cancel()


async def test_a_valid_new_file_is_swapped_in_whole(path: Path) -> None:
    async with watching(path) as (watcher, changes):
        old = watcher.state
        await asyncio.to_thread(set_role, path, "oss", "org/new")
        await until(lambda: changes)
        assert watcher.state.registry.roles["oss"] == "org/new"
        assert changes == [(old, watcher.state)]


async def test_a_broken_file_leaves_the_last_good_one_serving(path: Path) -> None:
    async with watching(path) as (watcher, changes):
        good = watcher.state.registry
        put(path, NIX[:-10])
        await until(lambda: watcher.state.problem)
        assert watcher.state.registry is good
        assert watcher.state.problem is not None
        assert watcher.state.problem.line == 27
        put(path, NIX)
        await until(lambda: watcher.state.problem is None)
        assert watcher.state.registry is good, "an unchanged registry is no swap"
        assert len(changes) == 2


async def test_a_removed_file_is_an_empty_registry_and_no_problem(path: Path) -> None:
    async with watching(path) as (watcher, _):
        remove(path)
        await until(lambda: not watcher.state.registry.roles)
        assert watcher.state == RegistryState(Registry())


async def test_a_file_that_is_removed_and_written_anew_never_empties_the_registry(path: Path) -> None:
    async with watching(path, interval_s=0.6) as (watcher, changes):
        remove(path)
        watcher.poke()
        noticed = time.monotonic() + 0.1
        await until(lambda: changes or time.monotonic() > noticed)
        assert not changes, "the roles were dropped at once"
        put(path, NIX.replace(b"gpt-oss", b"new-oss"))
        await until(lambda: changes)
        assert [new.registry.roles.get("oss") for _, new in changes] == ["mlx-community/new-oss-120b-MXFP4-Q4"]


async def test_a_link_pointed_elsewhere_is_noticed_although_times_and_size_are_equal(tmp_path: Path) -> None:
    for generation in ("one", "two"):
        target = tmp_path / f"{generation}.json"
        target.write_text(f'{{"models": {{"default": "{generation}"}}}}')
        os.utime(target, ns=(1, 1))
    link = tmp_path / "registry.json"
    link.symlink_to("one.json")
    async with watching(link) as (watcher, _):
        fresh = tmp_path / "fresh"
        fresh.symlink_to("two.json")
        fresh.replace(link)
        await until(lambda: watcher.state.registry.roles == {"default": "two"})


async def test_refresh_takes_ones_own_writing_at_once(path: Path) -> None:
    changes: Changes = []
    watcher = RegistryWatcher(path, lambda old, new: changes.append((old, new)))
    registry = await asyncio.to_thread(set_role, path, "oss", "org/new")
    assert watcher.refresh().registry == registry
    assert watcher.refresh() is watcher.state
    assert len(changes) == 1


async def test_a_start_with_a_broken_file_says_that_none_was_ever_good(path: Path) -> None:
    put(path, b"{")
    state = RegistryWatcher(path).state
    assert state.registry.digest == ""
    assert state.problem is not None


GOOD = RegistryState(Registry(roles={"default": "good"}, digest="d"))


def test_a_file_cut_at_any_byte_leaves_the_last_good_one() -> None:
    end = NIX.rindex(b"}")
    for length in range(end + 1):
        state = follow(GOOD, parse(NIX[:length]))
        assert state.registry is GOOD.registry, length
        assert state.problem is not None
        assert state.problem.line is not None
    assert follow(GOOD, parse(NIX[: end + 1])).problem is None


def test_a_flipped_bit_is_a_whole_registry_or_a_problem() -> None:
    """Whatever happens to the bytes, what serves is either the last good registry or what the file really says."""
    chance = random.Random(20261122)
    broken = 0
    for _ in range(400):
        data = bytearray(NIX)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        reading = parse(bytes(data))
        state = follow(GOOD, reading)
        if isinstance(reading, RegistryProblem):
            broken += 1
            assert state.registry is GOOD.registry
        else:
            assert all(isinstance(target, str) and target for target in state.registry.roles.values())
    assert broken > 100

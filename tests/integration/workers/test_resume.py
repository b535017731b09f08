"""What a worker had computed outlives it: the pool over real processes, with an engine that keeps files."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs, Settings
from roost.engines.types import CannotKeep, Restored, WorkerHttp
from roost.testing.stand_in import StandInEngine, stand_in_world
from roost.testing.wait import until
from roost.workers import saved_cache
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry

SMALL = {"enabled": True, "max_bytes": 2**20}


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@dataclass
class KeepingEngine(StandInEngine):
    """Writes what it is told to and remembers what it is given back."""

    content: bytes = b"conversation"
    facts: Mapping[str, Any] | CannotKeep = field(default_factory=lambda: {"weights": "aa"})
    saves: int = 0
    given: list[dict[str, bytes]] = field(default_factory=list)
    #: What a restore answers or raises.
    outcome: Restored | Exception = field(default_factory=lambda: Restored(100, reused=True))
    checks: list[bool] = field(default_factory=list)
    save_hangs: bool = False
    restore_hangs: bool = False

    def cache_facts(self, spec: ModelSpec, knobs: Knobs) -> Mapping[str, Any] | CannotKeep:
        return self.facts

    async def save_cache(self, worker: WorkerHttp, folder: Path, max_bytes: int) -> int:
        self.saves += 1
        write(folder / "slot-0.kv", self.content)
        if self.save_hangs:
            await asyncio.Event().wait()
        return len(self.content)

    async def restore_cache(self, worker: WorkerHttp, folder: Path, *, check: bool) -> Restored:
        self.given.append(contents(folder))
        self.checks.append(check)
        if self.restore_hangs:
            await asyncio.Event().wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@dataclass
class Running:
    pool: Supervisor
    folder: Path
    settings: Settings

    async def use(self, model: str = "a") -> int:
        """One request; the pid that served it."""
        ticket = self.pool.enter(model, Entry("request"))
        worker = await ticket.worker()
        ticket.leave()
        return worker.pid or 0

    async def away_and_back(self) -> None:
        await self.use()
        await self.pool.unload("a")
        await self.use()

    def files(self) -> list[Path]:
        """Saved conversations on disk, wherever below the state folder."""
        return list((self.folder / "state").rglob("*.kv"))


MakeRunning = Callable[..., Any]


@pytest.fixture
def running(short_path: Path) -> MakeRunning:
    @asynccontextmanager
    async def make(engine: StandInEngine, **resume: Any) -> AsyncIterator[Running]:
        value = Settings.model_validate(
            {"rotation": {"policy": "always", "min_residency_s": 0.0}, "drain_s": 2.0, "resume": SMALL | resume}
        )
        pool = Supervisor(stand_in_world(short_path, engine, ("a", "b"), lambda: state.settings))
        state = Running(pool, short_path, value)
        async with asyncio.TaskGroup() as group:
            started = asyncio.Event()
            group.create_task(state.pool.run(started))
            await started.wait()
            try:
                yield state
            finally:
                await state.pool.close(1.0)

    return make


async def test_what_was_saved_at_an_unload_is_restored_by_the_next_start(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.use()
        assert state.files() == []
        await state.pool.unload("a")
        (file,) = state.files()
        assert file.read_bytes() == b"conversation" and file.stat().st_mode & 0o777 == 0o600
        await state.use()
        assert engine.given == [{"slot-0.kv": b"conversation"}]
        assert state.files() == []  # while it is resident, nothing of it is on disk


async def test_a_swap_and_a_restart_of_the_daemon_keep_both_models(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.use("a")
        await state.use("b")
        assert len(state.files()) == 1
    assert engine.saves == 2
    async with running(engine) as state:
        await state.use("a")
        await state.use("b")
    assert len(engine.given) == 2


async def test_other_weights_or_settings_get_nothing(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.use()
        await state.pool.unload("a")
        engine.facts = {"weights": "bb"}
        await state.use()
        assert engine.given == []
        await state.pool.unload("a")
        assert len(state.files()) == 1  # the older one of this model is gone


async def test_a_file_that_was_cut_short_never_reaches_the_engine(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.use()
        await state.pool.unload("a")
        os.truncate(state.files()[0], 5)
        await state.use()
        assert engine.given == [] and state.files() == []


@pytest.mark.parametrize("outcome", [OSError("no"), TimeoutError(), Restored(0)])
async def test_a_restore_that_fails_fails_no_start(running: MakeRunning, outcome: Any) -> None:
    engine = KeepingEngine(outcome=outcome)
    async with running(engine) as state:
        await state.away_and_back()
        assert len(engine.given) == 1 and state.files() == []


async def test_a_restore_that_hangs_delays_a_start_by_its_limit_only(
    running: MakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_cache, "RESTORE_S", 0.1)
    async with running(KeepingEngine(restore_hangs=True)) as state:
        async with asyncio.timeout(10):
            await state.away_and_back()
        assert state.files() == []


async def test_a_save_that_hangs_delays_a_stop_by_its_limit_only_and_leaves_nothing(
    running: MakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_cache, "SAVE_S", 0.1)
    async with running(KeepingEngine(save_hangs=True)) as state:
        await state.use()
        async with asyncio.timeout(8):
            await state.pool.unload("a")
        assert state.files() == []


async def test_a_hurried_stop_does_not_wait_for_a_save(running: MakeRunning) -> None:
    engine = KeepingEngine(save_hangs=True)
    async with running(engine) as state:
        await state.use()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(state.pool.unload("a"))
            await until(lambda: engine.saves == 1)
            await state.pool.close(0)
        assert state.files() == []


async def test_an_engine_that_uses_nothing_of_it_is_not_saved_again_until_its_settings_change(
    running: MakeRunning,
) -> None:
    engine = KeepingEngine(outcome=Restored(100, reused=False))
    async with running(engine) as state:
        await state.away_and_back()
        await state.pool.unload("a")
        assert engine.saves == 1 and state.files() == []
        engine.facts = {"weights": "aa", "context": "other"}
        await state.away_and_back()
        assert engine.saves == 2


async def test_a_reuse_that_was_seen_is_not_checked_again(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.away_and_back()
        await state.away_and_back()
        assert engine.checks == [True, False]


async def test_turned_off_nothing_is_written_and_what_was_is_removed(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        await state.use("a")
        await state.pool.unload("a")
        assert len(state.files()) == 1
        state.settings = state.settings.model_copy(
            update={"resume": state.settings.resume.model_copy(update={"enabled": False})}
        )
        await state.use("b")
        assert state.files() == []
        await state.pool.unload("b")
        assert engine.saves == 1 and state.files() == []


async def test_turned_off_for_one_model_the_other_is_still_saved(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        models = {"a": {"engine": {"resume": False}}}
        state.settings = Settings.model_validate(state.settings.model_dump(exclude_unset=True) | {"models": models})
        await state.use("a")
        await state.pool.unload("a")
        assert state.files() == []
        await state.use("b")
        await state.pool.unload("b")
        assert len(state.files()) == 1


async def test_more_than_the_bound_is_not_kept(running: MakeRunning) -> None:
    async with running(KeepingEngine(content=bytes(5000)), max_bytes=4999) as state:
        await state.use()
        await state.pool.unload("a")
        assert state.files() == []


async def test_a_killed_worker_leaves_nothing_and_is_replaced(running: MakeRunning) -> None:
    engine = KeepingEngine()
    async with running(engine) as state:
        pid = await state.use()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: next(view.state for view in state.pool.views()) == "stopped")
        assert engine.saves == 0 and await state.use() != pid


async def test_a_model_that_gains_nothing_and_an_engine_that_cannot_are_left_alone(running: MakeRunning) -> None:
    engine = KeepingEngine(facts=CannotKeep("a sliding window"))
    async with running(engine) as state:
        await state.away_and_back()
        assert engine.saves == 0 and not (state.folder / "state/saved").exists()
    async with running(StandInEngine()) as state:
        await state.away_and_back()
        assert not (state.folder / "state/saved").exists()

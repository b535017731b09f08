"""Spares in the pool over real processes: taken, refilled, replaced, ended; with a stand-in engine that has them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs, ModelSettings, Settings
from roost.engines.types import LaunchPlan, StandbyPlan, WorkerPlace
from roost.errors import InsufficientMemory, WorkerFailed
from roost.host.linux import LinuxHost
from roost.host.types import MemoryReading
from roost.testing.stand_in import StandInEngine, stand_in_world
from roost.testing.wait import until
from roost.workers import backoff, standby
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry, WaitingSpare

GB = 10**9
GIB = 2**30
#: Waits as the launchers do, then runs the stand-in with what it is told.
SPARE = """
import json, os, runpy, sys
print(os.environ.get("SAYS", "standing by"), flush=True)
raw = sys.stdin.buffer.read()
if not raw:
    os._exit(0)
sys.argv = ["engine", *json.loads(raw)]
runpy.run_module("roost.testing.engine", run_name="__main__", alter_sys=True)
"""


@dataclass
class SpareEngine(StandInEngine):
    """A stand-in whose start takes what it needs from standard input."""

    program: str = SPARE
    started: int = 0
    spare_bytes: int = GB

    def standby(self, knobs: Knobs, place: WorkerPlace) -> StandbyPlan | None:
        if place.home.exists():  # not the place of a comparison
            self.started += 1
        env = {"PATH": "/usr/bin:/bin", "HOME": str(place.home), "ROOST_WORKER_NONCE": place.nonce, **knobs.env}
        return StandbyPlan((sys.executable, "-c", self.program), env, place.home)

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        plan = super().launch(spec, knobs, model, place)
        return replace(plan, stdin=json.dumps(plan.argv[3:]).encode(), cwd=place.home)


@dataclass
class RoomyHost(LinuxHost):
    """This machine with as much memory as a test wants."""

    available_bytes: int = 8 * GB

    def __post_init__(self) -> None:
        super().__init__()

    def memory(self) -> MemoryReading:
        return MemoryReading(16 * GB, self.available_bytes, 0, None)


@dataclass
class Running:
    pool: Supervisor
    folder: Path
    host: RoomyHost
    settings: Settings

    async def use(self, model: str = "a") -> int:
        """One request; the pid that served it."""
        ticket = self.pool.enter(model, Entry("request"))
        try:
            return (await ticket.worker()).pid or 0
        finally:
            ticket.leave()

    @property
    def spare(self) -> WaitingSpare:
        (view,) = self.pool.spares()
        return view

    async def standing_by(self) -> int:
        """The pid of the spare, once it waits."""
        await until(lambda: bool(self.pool.spares()) and self.spare.state == "standby", timeout_s=20)
        return self.spare.pid or 0

    async def change(self, **engine: Any) -> None:
        """As a reload of the settings does."""
        self.settings = Settings.model_validate(QUICK | {"engine": engine})
        await self.pool.reconsider()

    def folders(self) -> list[str]:
        """What starts have on disk."""
        return sorted(path.name for path in (self.folder / "state/run").glob("w-*"))


QUICK: dict[str, Any] = {"rotation": {"policy": "always", "min_residency_s": 0.0}, "drain_s": 2.0}
ON = {"engine": {"standby": True}}
MakeRunning = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "REFILL_AFTER_S", 0.0)
    monkeypatch.setattr(standby, "REFILL_BUSY_S", 0.0)
    monkeypatch.setattr(standby, "ROOM_PERIOD_S", 0.05)


@pytest.fixture
def running(short_path: Path) -> MakeRunning:
    @asynccontextmanager
    async def make(engine: StandInEngine, settings: dict[str, Any] = ON) -> AsyncIterator[Running]:
        host = RoomyHost()
        world = stand_in_world(short_path, engine, ("a", "b"), lambda: state.settings)
        pool = Supervisor(replace(world, host=host, engines={engine.name: engine}))
        state = Running(pool, short_path, host, Settings.model_validate(QUICK | settings))
        async with asyncio.TaskGroup() as group:
            started = asyncio.Event()
            group.create_task(pool.run(started))
            await started.wait()
            try:
                yield state
            finally:
                await pool.close(1.0)

    return make


def text_of(log: str | None) -> str:
    return Path(log or "").read_text()


async def test_a_start_takes_the_spare_and_the_next_one_stands_by_afterwards(running: MakeRunning) -> None:
    async with running(SpareEngine()) as state:
        first = await state.standing_by()
        assert (state.spare.engine, state.spare.log) == ("stand-in", "standby-stand-in")
        assert [view.model_id for view in state.pool.views()] == []
        await until(lambda: (state.spare.resident_bytes or 0) > 2**20)
        assert await state.use("a") == first
        second = await state.standing_by()
        assert second != first and psutil.pid_exists(first)
        assert await state.use("b") == second
        await until(lambda: not psutil.pid_exists(first))
        third = await state.standing_by()
    assert state.folders() == [] and not any(psutil.pid_exists(pid) for pid in (first, second, third))
    assert list((state.folder / "state/run/workers").iterdir()) == []


async def test_a_worker_that_was_a_spare_has_the_log_and_the_record_of_its_model(running: MakeRunning) -> None:
    async with running(SpareEngine()) as state:
        await state.standing_by()
        await state.use("a")
        log = Path(state.pool.log_path("a") or "")
        await until(lambda: "listening" in log.read_text())
        own = text_of(state.pool.log_path("standby-stand-in"))
        assert "standing by" in own and "listening" not in own
        await state.standing_by()
        records = [json.loads(path.read_text()) for path in (state.folder / "state/run/workers").glob("*.json")]
        assert sorted(record["model_id"] for record in records) == ["a", "a spare of stand-in"]


async def test_turned_off_there_is_none_and_an_engine_without_spares_has_none(running: MakeRunning) -> None:
    engine = SpareEngine()
    async with running(engine, {}) as state:
        await state.use()
        assert state.pool.spares() == () and engine.started == 0
    async with running(StandInEngine()) as state:
        await state.use()
        assert state.pool.spares() == ()


async def test_a_start_takes_a_spare_that_is_still_importing(running: MakeRunning) -> None:
    async with running(SpareEngine(), {"engine": {"standby": True, "env": {"SAYS": "not yet"}}}) as state:
        await until(lambda: bool(state.pool.spares()) and state.spare.pid is not None)
        pid, before = state.spare.pid, state.spare.state
        assert before == "importing" and await state.use() == pid


async def test_a_model_with_an_environment_of_its_own_gets_a_process_of_its_own(running: MakeRunning) -> None:
    own = {"models": {"a": {"engine": {"env": {"FLAVOUR": "own"}}}}}
    async with running(SpareEngine(), ON | own) as state:
        spare = await state.standing_by()
        pid = await state.use("a")
        assert pid != spare and psutil.Process(pid).environ()["FLAVOUR"] == "own"
        assert await state.standing_by() == spare
        assert await state.use("b") == spare and "FLAVOUR" not in psutil.Process(spare).environ()


async def test_a_reload_that_changes_the_environment_replaces_it_and_one_that_does_not_leaves_it(
    running: MakeRunning,
) -> None:
    async with running(SpareEngine()) as state:
        first = await state.standing_by()
        await state.change(standby=True, idle_ttl_s=99.0)
        assert await state.standing_by() == first
        await state.change(standby=True, env={"FLAVOUR": "new"})
        await until(lambda: not psutil.pid_exists(first))
        second = await state.standing_by()
        assert psutil.Process(second).environ()["FLAVOUR"] == "new"
        await state.change(standby=False)
        await until(lambda: not psutil.pid_exists(second) and state.pool.spares() == ())
        assert state.folders() == []


async def test_one_that_is_killed_is_replaced_and_a_start_meanwhile_does_without(
    running: MakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_BACKOFF_S", 0.05)
    async with running(SpareEngine()) as state:
        spare = await state.standing_by()
        os.kill(spare, signal.SIGKILL)
        assert await state.use() != spare
        assert await state.standing_by() != spare
        (worker,) = state.pool.views()
        assert (worker.state, worker.restarts, worker.problem) == ("ready", 0, None)


async def test_the_end_of_a_spare_is_no_failure_of_the_worker_that_runs_beside_it(running: MakeRunning) -> None:
    async with running(SpareEngine()) as state:
        worker, spare = await state.use(), await state.standing_by()
        os.kill(spare, signal.SIGKILL)
        await until(lambda: state.spare.state == "backoff")
        (view,) = state.pool.views()
        assert (view.pid, view.state, view.restarts, view.problem) == (worker, "ready", 0, None)
        assert await state.use() == worker


async def test_a_model_of_another_engine_leaves_the_spare_alone(short_path: Path) -> None:
    settings = Settings.model_validate(QUICK | {"engines": {"stand-in": {"standby": True}}})
    engine, other = SpareEngine(), SpareEngine(name="another")
    world = stand_in_world(short_path, engine, ("a", "b"), lambda: settings)
    both: dict[str, StandInEngine] = {engine.name: engine, other.name: other}
    world = replace(
        world, host=RoomyHost(), engines=both, choose_engine=lambda spec, *_: other if spec.id == "b" else engine
    )
    pool = Supervisor(world)
    state = Running(pool, short_path, RoomyHost(), settings)
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        group.create_task(pool.run(started))
        await started.wait()
        first = await state.standing_by()
        assert await state.use("a") == first
        spare = await state.standing_by()
        assert await state.use("b") != spare
        assert (state.spare.pid, other.started) == (spare, 0)
        assert await state.use("a") == spare
        await pool.close(1.0)


async def test_one_that_always_dies_is_given_up_and_told_until_its_settings_change(
    running: MakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_BACKOFF_S", 0.01)
    engine = SpareEngine(program="raise SystemExit('no such library')")
    async with running(engine) as state:
        await until(lambda: bool(state.pool.spares()) and state.spare.state == "failed", timeout_s=20)
        assert engine.started == backoff.GIVE_UP_COUNT
        problem = state.spare.problem or ""
        assert "exited with code 1" in problem and "no such library" in problem
        assert state.spare.mend == "roost logs standby-stand-in"
        assert await state.use() and engine.started == backoff.GIVE_UP_COUNT
        engine.program = SPARE
        await state.change(standby=True, env={"FLAVOUR": "new"})
        await state.standing_by()
        assert state.spare.problem is None


async def test_a_start_that_fails_in_what_was_a_spare_fails_as_any_other(running: MakeRunning) -> None:
    engine = SpareEngine({"a": ("--exit-at-start",)})
    async with running(engine) as state:
        await state.standing_by()
        with pytest.raises(WorkerFailed, match="cannot load a: stand-in exited with code"):
            await state.use("a")
        await state.standing_by()
        assert len(state.folders()) == 1


async def test_one_that_cannot_take_the_order_any_more_is_replaced_within_the_start(
    running: MakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads nothing more, as one does that ended a moment ago."""
    engine = SpareEngine(program="import os, time; os.close(0); print('standing by', flush=True); time.sleep(600)")
    async with asyncio.timeout(30), running(engine) as state:
        spare = await state.standing_by()
        pid = await state.use()
        assert pid != spare and psutil.pid_exists(pid)
        await until(lambda: not psutil.pid_exists(spare))


async def test_without_room_there_is_none_and_the_numbers_are_told(running: MakeRunning) -> None:
    async with running(SpareEngine()) as state:
        await state.standing_by()
        state.host.available_bytes = GB // 2
        await until(lambda: state.spare.state == "absent", timeout_s=20)
        assert "no room for a spare of stand-in" in (state.spare.problem or "")
        assert await state.use()
        state.host.available_bytes = 8 * GB
        await state.standing_by()
        assert state.spare.problem is None


def promising(gigabytes: float) -> dict[str, Any]:
    """8 GiB for all, half a GiB of it held back; so much for the model."""
    return ON | {"memory": {"max_gb": 8.0}, "models": {"a": {"memory_gb": gigabytes}}}


async def test_a_spare_is_promised_its_memory_and_as_a_worker_has_the_promise_of_its_start(
    running: MakeRunning,
) -> None:
    async with running(SpareEngine(), promising(2.0)) as state:
        await state.standing_by()
        await until(lambda: state.spare.resident_bytes == state.pool.promised_bytes())
        assert state.pool.promised_bytes() > 2**20
        await state.use()
        await until(lambda: state.spare.state == "absent" or state.pool.promised_bytes() > 2 * GIB)
        await state.standing_by()
        await until(lambda: state.pool.promised_bytes() == 2 * GIB + (state.spare.resident_bytes or 0))
        await state.pool.unload("a")
        assert 0 < state.pool.promised_bytes() < GIB


async def test_a_spare_goes_before_a_load_is_refused(running: MakeRunning) -> None:
    own = {"models": {"a": {"memory_gb": 7.515, "engine": {"env": {"FLAVOUR": "own"}}}}}
    async with running(SpareEngine(), promising(0) | own) as state:
        spare = await state.standing_by()
        await until(lambda: 0 < state.pool.promised_bytes() < GIB)
        pid = await state.use()
        assert pid != spare and not psutil.pid_exists(spare)
        assert state.pool.promised_bytes() == round(7.515 * GIB) and state.spare.state == "absent"


async def test_no_spare_is_given_up_for_a_load_that_is_refused_for_ever(running: MakeRunning) -> None:
    async with running(SpareEngine(), promising(9.0)) as state:
        spare = await state.standing_by()
        with pytest.raises(InsufficientMemory):
            await state.use()
        assert (state.spare.pid, psutil.pid_exists(spare)) == (spare, True)


async def test_an_unload_in_mid_start_leaves_nothing_of_what_was_a_spare(running: MakeRunning) -> None:
    engine = SpareEngine({"a": ("--load-s", "60")})
    async with running(engine) as state:
        spare = await state.standing_by()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(asyncio.wait_for(_failing(state.use("a")), 20))
            await until(lambda: any(v.pid == spare for v in state.pool.views()))
            await state.pool.unload("a")
            await waiting
        assert not psutil.pid_exists(spare)
        await state.standing_by()
        assert len(state.folders()) == 1


async def _failing(work: Any) -> None:
    with pytest.raises(Exception, match="unloaded"):
        await work


async def test_a_cancelled_pool_takes_its_spares_along(short_path: Path) -> None:
    engine, settings = SpareEngine(), Settings.model_validate(QUICK | ON)
    world = stand_in_world(short_path, engine, ("a", "b"), lambda: settings)
    pool = Supervisor(replace(world, host=RoomyHost(), engines={engine.name: engine}))
    state = Running(pool, short_path, RoomyHost(), settings)
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        whole = group.create_task(pool.run(started))
        await started.wait()
        first = await state.standing_by()
        assert await state.use() == first
        second = await state.standing_by()
        whole.cancel()
    await until(lambda: not psutil.pid_exists(first) and not psutil.pid_exists(second))
    await until(lambda: state.folders() == [])

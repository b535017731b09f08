"""A guardian ends a worker that takes more memory than it may, whatever the daemon and the worker are doing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs, ModelSettings
from roost.engines.types import EngineTraits, LaunchPlan, ProofKind, UnixEndpoint, WorkerPlace
from roost.errors import InsufficientMemory
from roost.host.this import this_host
from roost.memory.learned import Learned
from roost.memory.lines import Lines
from roost.testing.memory import ScriptedMemory
from roost.testing.stand_in import StandInEngine
from roost.testing.wait import until, until_sync
from roost.workers.peaks import PeakBook
from roost.workers.process import Attended, WorkerProcess, spawn
from tests.integration.workers.conftest import MakeBench

MIB = 2**20
NO_FLOOR, ANY_FLOOR = 0, 2**60
#: Takes so many MiB, in steps that are written to, and says each; holds them.
TAKE = """
import sys, time
held = []
for step in range(int(sys.argv[1])):
    held.append(bytearray(b"x") * 2**20)
    print(step, flush=True)
time.sleep(600)
"""
#: As much again in a child of its own.
TAKE_IN_CHILD = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {TAKE!r}, sys.argv[1]])
"""


def plan_of(program: str, mebibytes: int) -> LaunchPlan:
    return LaunchPlan(
        argv=(sys.executable, "-c", program, str(mebibytes)),
        env={"PATH": os.environ["PATH"]},
        endpoint=UnixEndpoint(Path("/nowhere")),
        served_name="x",
        proof=ProofKind.CLAIMED,
        traits=EngineTraits(True, "none", frozenset()),
        context_length=None,
        concurrency=1,
    )


@dataclass
class Taking:
    process: WorkerProcess
    output: bytearray

    @property
    def taken_mib(self) -> int:
        return len(self.output.split())


@asynccontextmanager
async def taking(mebibytes: int, lines: Lines | None, program: str = TAKE) -> AsyncIterator[Taking]:
    output = bytearray()
    process, status, descriptor = await spawn(plan_of(program, mebibytes), this_host(), high_priority=False)
    if lines:
        process.hold_to(lines)
    async with asyncio.TaskGroup() as group:
        group.create_task(Attended(process, status, descriptor, output.extend).attend())
        try:
            yield Taking(process, output)
        finally:
            process.kill()


@pytest.mark.parametrize("program", [TAKE, TAKE_IN_CHILD], ids=["itself", "a child of it"])
async def test_one_beyond_its_limit_is_gone_and_what_it_had_is_told(program: str) -> None:
    async with asyncio.timeout(30), taking(4000, Lines(15, 100 * MIB, 0, NO_FLOOR), program) as worker:
        await worker.process.gone.wait()
        beyond = worker.process.beyond
        assert beyond is not None and 100 * MIB < beyond.private_bytes < 4000 * MIB
        assert worker.taken_mib < 4000 and worker.process.exit_code == -9


def hold_the_loop_until_gone(pid: int) -> None:
    until_sync(lambda: not psutil.pid_exists(pid), timeout_s=20)


async def test_it_is_ended_while_the_daemons_loop_is_held() -> None:
    async with taking(4000, Lines(15, 100 * MIB, 0, NO_FLOOR)) as worker:
        await worker.process.identified.wait()
        assert worker.process.pid is not None
        hold_the_loop_until_gone(worker.process.pid)


async def test_one_within_its_limit_stays() -> None:
    async with taking(150, Lines(15, 400 * MIB, 0, NO_FLOOR)) as worker:
        await until(lambda: worker.taken_mib == 150)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await worker.process.gone.wait()
        assert worker.process.beyond is None


async def test_one_beyond_its_promise_is_ended_when_the_machine_is_short_and_not_before() -> None:
    async with asyncio.timeout(30), taking(150, Lines(15, 2**60, 50 * MIB, NO_FLOOR)) as worker:
        await until(lambda: worker.taken_mib == 150)
        assert not worker.process.gone.is_set()
        worker.process.hold_to(Lines(15, 2**60, 50 * MIB, ANY_FLOOR))
        await worker.process.gone.wait()
        assert worker.process.beyond is not None and worker.process.beyond.available_bytes < ANY_FLOOR


async def test_one_within_its_promise_stays_although_the_machine_is_short() -> None:
    async with taking(50, Lines(15, 2**60, 400 * MIB, ANY_FLOOR)) as worker:
        await until(lambda: worker.taken_mib == 50)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await worker.process.gone.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts mapped memory on Linux only")
async def test_the_kernel_gives_it_no_more_than_its_data_limit() -> None:
    lines = Lines(15, 2**60, 2**60, NO_FLOOR, data_bytes=120 * MIB)
    async with asyncio.timeout(30), taking(4000, lines) as worker:
        await worker.process.gone.wait()
        assert worker.process.exit_code == 1 and b"MemoryError" in worker.output


async def test_it_goes_into_the_group_that_it_was_told(tmp_path: Path) -> None:
    folder = tmp_path / "a group"
    folder.mkdir()
    async with taking(1, replace(Lines(15, 2**60, 2**60, NO_FLOOR), group=str(folder))) as worker:
        await worker.process.identified.wait()
        members = folder / "cgroup.procs"
        await until(lambda: members.exists() and members.read_text() == str(worker.process.pid))


@dataclass
class Greedy(StandInEngine):
    """Its worker never serves: it takes memory."""

    mebibytes: int = 4000

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        plan = super().launch(spec, knobs, model, place)
        return replace(plan, argv=(sys.executable, "-c", TAKE, str(self.mebibytes)))


async def test_a_load_beyond_its_promise_is_a_typed_refusal_and_the_next_promise_is_larger(
    make_bench: MakeBench,
) -> None:
    kept: list[Learned] = []
    settings = {"memory": {"max_gb": 0.6}, "models": {"a": {"memory_gb": 0.02}}}
    book = PeakBook(keep=lambda key, model_id, learned: kept.append(learned))
    async with asyncio.timeout(30), make_bench("a", settings=settings, memory=ScriptedMemory(), peaks=book) as bench:
        object.__setattr__(bench.pool._world, "choose_engine", lambda *_: Greedy())
        with pytest.raises(InsufficientMemory, match="was ended for its memory: it had") as caught:
            await bench.pool.load("a")
        assert caught.value.should_retry is True
        await until(lambda: bench.pool.promised_bytes() == 0)
        assert kept[-1].at_least_bytes > 256 * MIB

"""What happens beside the workers and is no reason to touch them, or no excuse for being late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from roost.testing.wait import until
from tests.helpers import kill_group
from tests.integration.memory_faults.test_growing import LEAK, pids, recovers, small, stayed_within
from tests.integration.memory_faults.witness import MIB, nothing_suffers, watching
from tests.integration.workers.conftest import Bench, MakeBench


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Programs that want all of the processor."""
    argv = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            kill_group(process)


async def test_files_that_others_read_are_nobodys_memory(make_bench: MakeBench, tmp_path: Path) -> None:
    """Pages of a file that was just read are given back by the kernel: they are neither a worker's nor an alarm."""
    file = tmp_path / "other.gguf"
    flags = {"a": ("--map-file", str(file))}
    with file.open("wb") as out:
        out.truncate(200 * MIB)
    async with make_bench("a", flags=flags, settings=small(a=0.1)) as bench:
        await bench.pool.load("a")
        assert len(await asyncio.to_thread(file.read_bytes)) == 200 * MIB
        await until(lambda: bench.pool.seen_bytes("a") > 0)
        assert bench.state("a") == "ready" and not bench.pool.memory_problem()
        assert bench.pool.promised_bytes() == round(0.1 * 2**30)


@pytest.mark.thorough
async def test_the_guard_is_in_time_while_others_want_all_of_the_processor(make_bench: MakeBench) -> None:
    with nothing_suffers(), busy_programs(4):
        async with make_bench("a", "b", flags={"a": LEAK}, settings=small(a=0.1, b=0.05)) as bench:
            with watching(lambda: pids(bench)) as watch:
                ticket, leaks = await bench.ready("a")
                await until(lambda: not psutil.pid_exists(leaks.pid or 0), timeout_s=30)
            stayed_within(watch, 0.1)
            ticket.leave()
            await recovers(bench, "b", 0)


@pytest.mark.thorough
async def test_loads_and_unloads_leave_nothing_behind(make_bench: MakeBench) -> None:
    flags = dict.fromkeys(("a", "b"), ("--hold-mib", "50"))
    settings = small(a=0.1, b=0.1) | {"residency": {"max_resident": 1}}
    async with make_bench(flags=flags, settings=settings) as bench:
        for _ in range(3):
            await cycle(bench, "a", "b")
        before = psutil.Process().memory_info().rss
        for _ in range(6):
            await cycle(bench, "a", "b")
        assert psutil.Process().memory_info().rss < before + 2 * MIB
        await bench.pool.unload("b")
        await until(lambda: bench.pool.promised_bytes() == 0, timeout_s=5)


async def cycle(bench: Bench, *models: str) -> None:
    for model in models:
        ticket, _ = await bench.ready(model)
        ticket.leave()

"""Room that goes away: other programs, a lowered budget, a rotation, workers that do not go, blind sensors, floods."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost.config.settings import MemorySettings
from roost.errors import ConcurrencyLimit, InsufficientMemory
from roost.host.linux_memory import LinuxMemory
from roost.host.memory_types import Gpu, GpuKind
from roost.host.this import this_host
from roost.memory import release
from roost.memory.ledger import Entry
from roost.testing.memory import GIB, ScriptedMemory, SmallMachine
from roost.testing.wait import until
from roost.workers import ends
from roost.workers.gate import Gate
from tests.integration.memory_faults.witness import foreign_hog, nothing_suffers, private_mib, watching
from tests.integration.workers.conftest import Bench, MakeBench

#: Of a machine of 8 GiB others leave so much: workers get a part of it, the floor is 0.5 GiB.
LEFT_GIB = 1.5


def sized(max_gb: float = 6.0, resident: int = 2, **gigabytes: float) -> dict[str, Any]:
    return {
        "memory": {"max_gb": max_gb},
        "residency": {"max_resident": resident},
        "models": {name: {"memory_gb": size} for name, size in gigabytes.items()},
    }


def crowded() -> SmallMachine:
    return SmallMachine(8 * GIB, round((8 - LEFT_GIB) * GIB))


def pids(bench: Bench) -> list[int]:
    return [view.pid for view in bench.pool.views() if view.pid]


async def test_another_program_that_takes_the_room_before_the_start_gets_it(make_bench: MakeBench) -> None:
    """What was free a moment ago is looked at again: the refusal has the numbers of now, and waiting helps."""
    async with make_bench("a", settings=sized(a=0.4), memory=crowded()) as bench:
        await bench.pool.load("a")
        await bench.pool.unload("a")
        with foreign_hog(350):
            with pytest.raises(InsufficientMemory, match="what binds is free memory") as caught:
                await bench.pool.load("a")
            assert caught.value.should_retry is True
            assert not pids(bench) and bench.pool.promised_bytes() == 0
        await bench.pool.load("a")
        assert bench.state("a") == "ready"


async def test_another_program_that_grows_beside_a_resident_makes_it_go_when_it_is_idle(make_bench: MakeBench) -> None:
    machine = crowded()
    machine.others_bytes += 200 * 2**20
    flags = {"a": ("--hold-mib", "170")}
    with nothing_suffers():
        async with make_bench("a", flags=flags, settings=sized(a=0.2), memory=machine) as bench:
            ticket, worker = await bench.ready("a")
            with foreign_hog(700):
                await until(lambda: "the floor is" in (bench.pool.memory_problem() or ""), timeout_s=30)
                # It serves somebody: it stays for as long as that takes.
                assert psutil.pid_exists(worker.pid or 0)
                ticket.leave()
                await until(lambda: not psutil.pid_exists(worker.pid or 0), timeout_s=30)
                await until(lambda: bench.pool.promised_bytes() == 0, timeout_s=5)
            await until(lambda: not bench.pool.memory_problem(), timeout_s=30)
            await bench.pool.load("a")


@pytest.mark.thorough
async def test_another_program_that_takes_the_room_while_a_load_grows_into_it_keeps_it(make_bench: MakeBench) -> None:
    """The promise was kept when it was made: the load goes when it is in the way, the other program does not."""
    machine = crowded()
    machine.others_bytes += 200 * 2**20
    flags = {"a": ("--leaks-in-load", "--leak-mib-s", "60", "--leak-most-mib", "170", "--load-s", "3")}
    with nothing_suffers():
        async with make_bench("a", flags=flags, settings=sized(a=0.2), memory=machine) as bench:
            ticket = bench.enter("a")
            await until(lambda: bench.pool.promised_bytes() > 0)
            with foreign_hog(700):
                await until(lambda: "the floor is" in (bench.pool.memory_problem() or ""), timeout_s=30)
                ticket.leave()
                await until(lambda: bench.pool.promised_bytes() == 0, timeout_s=30)
                with pytest.raises(InsufficientMemory, match="memory is short"):
                    await bench.pool.load("a")
            await until(lambda: not bench.pool.memory_problem(), timeout_s=30)
            await bench.pool.load("a")


async def test_two_that_do_not_fit_together_are_never_there_together(make_bench: MakeBench) -> None:
    """Each has 200 MiB; the one that comes is not begun before the other's memory is back."""
    flags = dict.fromkeys(("a", "b"), ("--hold-mib", "200"))
    settings = sized(0.8, 1, a=0.25, b=0.25)
    async with make_bench(flags=flags, settings=settings) as bench:
        with watching(lambda: [child.pid for child in psutil.Process().children()]) as watch:
            for model in ("a", "b", "a", "b"):
                ticket, _ = await bench.ready(model)
                ticket.leave()
        assert watch.most_mib > 200
        assert watch.most_second_mib < 100


async def test_a_worker_that_does_not_want_to_go_is_ended_and_the_next_one_waits_for_its_memory(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "STOP_GRACE_S", 1.0)
    flags = {"a": ("--hold-mib", "200", "--ignore-term", "--fork-grandchild"), "b": ("--hold-mib", "200")}
    async with make_bench(flags=flags, settings=sized(0.8, 1, a=0.25, b=0.25)) as bench:
        await bench.pool.load("a")
        (stubborn,) = pids(bench)
        await bench.pool.load("b")
        assert not psutil.pid_exists(stubborn)
        assert bench.pool.promised_bytes() == round(0.25 * GIB) and private_mib(pids(bench)[0]) > 200


CARD = Gpu("GPU-1", "a card", 0, GpuKind.OWN, 24 * GIB, 20 * GIB)


async def test_memory_that_does_not_come_back_stays_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that keeps what a process had after that process is gone."""
    monkeypatch.setattr(release, "LONGEST_WAIT_S", 0.5)
    memory = ScriptedMemory(gpu_list=(CARD,))
    gate = Gate(memory, this_host(), MemorySettings)
    for start, comes_back in (("a #1", False), ("b #1", True)):
        with foreign_hog(10) as pid:
            memory.gpu_list = (CARD,)
            gate.book = gate.book.reserve(Entry(start, start, {"GPU-1": 6 * GIB}))
            gate.started(start, lambda pid=pid: pid)
            memory.gpu_list = (replace(CARD, free_bytes=14 * GIB),)
            await gate.sample()
        if comes_back:
            memory.gpu_list = (CARD,)
        async with asyncio.timeout(5):
            await gate.ended(start, clean=True)
    assert set(gate.book.entries) == {"a #1"} and gate.book.reserved_on("GPU-1") == 6 * GIB


def lower_budget(bench: Bench, gigabytes: float) -> None:
    """As a changed file would, without the restart of anything."""
    object.__setattr__(bench.settings, "memory", bench.settings.memory.model_copy(update={"max_gb": gigabytes}))


async def test_a_budget_that_is_lowered_below_what_is_loaded_lets_nothing_new_in(make_bench: MakeBench) -> None:
    flags = {"a": ("--hold-mib", "200")}
    async with make_bench(flags=flags, settings=sized(1.0, 2, a=0.25, b=0.1)) as bench:
        ticket, worker = await bench.ready("a")
        lower_budget(bench, 0.6)
        for _ in range(3):
            with pytest.raises(InsufficientMemory, match=r"memory\.max_gb") as caught:
                await bench.pool.load("b")
        assert caught.value.should_retry is True
        assert psutil.pid_exists(worker.pid or 0)
        ticket.leave()
        await bench.pool.unload("a")
        await bench.pool.load("b")
        with pytest.raises(InsufficientMemory):
            await bench.pool.load("a")
        lower_budget(bench, 1.0)
        await bench.pool.load("a")


async def test_a_kernel_that_tells_nothing_lets_nothing_in_and_ends_nobody(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """The real sensor over a /proc that loses its files."""
    for name in ("meminfo", "vmstat", "cpuinfo"):
        shutil.copyfile(f"/proc/{name}", tmp_path / name)
    proc = LinuxMemory(proc=tmp_path)
    async with make_bench(settings=sized(2.0, a=0.1, b=0.1), memory=proc) as bench:
        ticket, worker = await bench.ready("a")
        (tmp_path / "meminfo").rename(tmp_path / "gone")
        await until(lambda: "memory cannot be read" in (bench.pool.memory_problem() or ""), timeout_s=30)
        with pytest.raises(InsufficientMemory, match="memory cannot be read") as caught:
            await bench.pool.load("b")
        assert caught.value.should_retry is True
        assert bench.state("a") == "ready" and psutil.pid_exists(worker.pid or 0)
        (tmp_path / "meminfo").write_text("MemTotal: none of your business\n")
        await until(lambda: "names no MemTotal" in (bench.pool.memory_problem() or ""), timeout_s=30)
        with pytest.raises(InsufficientMemory):
            await bench.pool.load("b")
        (tmp_path / "gone").rename(tmp_path / "meminfo")
        await until(lambda: not bench.pool.memory_problem(), timeout_s=30)
        await bench.pool.load("b")
        ticket.leave()


async def test_a_flood_of_requests_waits_in_a_bounded_line_and_costs_the_worker_nothing(make_bench: MakeBench) -> None:
    settings = sized(1.0, 1, a=0.3) | {"models": {"a": {"memory_gb": 0.3, "max_requests": 32}}}
    async with make_bench("a", settings=settings) as bench:
        running = [await bench.ready("a") for _ in range(4)]
        before, own = private_mib(pids(bench)[0]), psutil.Process().memory_info().rss
        waiting, turned_away = [], 0
        for _ in range(5000):
            try:
                waiting.append(bench.enter("a"))
            except ConcurrencyLimit as error:
                turned_away += 1
                assert error.retry_after_s
        assert (len(waiting), turned_away) == (28, 4972)
        assert private_mib(pids(bench)[0]) < before + 5
        assert psutil.Process().memory_info().rss < own + 20 * 2**20
        for ticket, _ in running:
            ticket.leave()
        for ticket in waiting[:4]:
            await ticket.worker()
        for ticket in waiting:
            ticket.leave()


@pytest.mark.thorough
async def test_two_that_race_for_the_last_room_do_not_both_get_it_while_others_take_too(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=0.3, b=0.3), memory=crowded()) as bench:
        with foreign_hog(100):
            loads = (bench.pool.load("a"), bench.pool.load("b"))
            results = await asyncio.gather(*loads, return_exceptions=True)
        assert {type(result) for result in results if result} <= {InsufficientMemory}
        assert len(pids(bench)) == 1 and bench.pool.promised_bytes() == round(0.3 * GIB)

"""Starts are admitted by what memory there is: real processes, real promises, a machine that the test decides."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from roost.errors import InsufficientMemory
from roost.memory.learned import Learned
from roost.testing.memory import GIB, ScriptedMemory
from roost.testing.wait import until
from roost.workers.peaks import PeakBook
from roost.workers.types import WorkerView
from tests.integration.workers.conftest import Bench, MakeBench


def sized(**gigabytes: float) -> dict[str, Any]:
    """Ten GB for all, and so much for each model."""
    models = {name: {"memory_gb": size} for name, size in gigabytes.items()}
    return {"memory": {"max_gb": 10.0}, "models": models, "residency": {"max_resident": 2}}


def promised(bench: Bench) -> int:
    return bench.pool.promised_bytes()


def view_of(bench: Bench, model: str) -> WorkerView:
    return next(view for view in bench.pool.views() if view.model_id == model)


async def test_what_can_never_fit_is_refused_with_the_numbers_before_anything_starts(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=12), memory=ScriptedMemory()) as bench:
        with pytest.raises(InsufficientMemory) as caught:
            await bench.ready("a")
        assert (caught.value.status, caught.value.code, caught.value.should_retry) == (
            503,
            "insufficient_memory",
            False,
        )
        assert "needs 12.0 GiB" in caught.value.message and "memory.max_gb" in caught.value.message
        assert not list((bench.folder / "state/run").glob("workers/*")) and promised(bench) == 0
        view = view_of(bench, "a")
        assert (view.state, view.pid, view.mend) == ("stopped", None, "roost plan a")


async def test_a_refusal_is_no_failed_start(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    memory.change(available_bytes=5 * GIB)
    async with make_bench(settings=sized(a=8), memory=memory) as bench:
        for _ in range(6):
            with pytest.raises(InsufficientMemory) as caught:
                await bench.ready("a")
            assert caught.value.should_retry is True and caught.value.retry_after_s
        memory.change(available_bytes=60 * GIB)
        ticket, _ = await bench.ready("a")
        ticket.leave()
        assert view_of(bench, "a").problem is None


async def test_what_fits_once_a_busy_one_has_gone_is_refused_for_now(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=6, b=6), memory=ScriptedMemory()) as bench:
        ticket, _ = await bench.ready("a")
        assert view_of(bench, "a").memory == "6.0 GiB promised (declared size)"
        with pytest.raises(InsufficientMemory) as caught:
            await bench.pool.load("b")
        assert caught.value.should_retry is True and "3.5 GiB can be had now" in caught.value.message
        ticket.leave()
        await bench.pool.unload("a")
        assert promised(bench) == 0
        await bench.pool.load("b")
        assert promised(bench) == 6 * GIB


async def never_both(bench: Bench, first: int, second: str) -> None:
    """Until cancelled: the second has no process while the first one lives."""
    while True:
        later = next((view.pid for view in bench.pool.views() if view.model_id == second), None)
        assert later is None or not psutil.pid_exists(first)
        await asyncio.sleep(0.002)


async def test_an_idle_one_goes_for_a_load_that_does_not_fit_beside_it_and_first(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=6, b=6), memory=ScriptedMemory()) as bench:
        ticket, worker = await bench.ready("a")
        ticket.leave()
        assert worker.pid is not None
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(never_both(bench, worker.pid, "b"))
            ticket, _ = await bench.ready("b")
            watching.cancel()
        assert (bench.state("a"), bench.state("b"), promised(bench)) == ("stopped", "ready", 6 * GIB)
        ticket.leave()


async def test_of_several_idle_ones_only_those_in_the_way_go(make_bench: MakeBench) -> None:
    settings = sized(a=4, b=1, c=4, d=4) | {"residency": {"max_resident": 4}}
    async with make_bench("a", "b", "c", "d", settings=settings, memory=ScriptedMemory()) as bench:
        for model in "abc":
            await bench.pool.load(model)
        await bench.pool.load("d")
        assert [bench.state(model) for model in "abcd"].count("stopped") == 1
        assert (bench.state("b"), bench.state("d")) == ("ready", "ready")


async def test_a_pinned_one_stays_and_nobody_goes_for_a_load_that_would_not_fit_then(make_bench: MakeBench) -> None:
    settings = sized(a=4, b=3, c=6) | {"residency": {"max_resident": 3, "pinned": ["a"]}}
    async with make_bench("a", "b", "c", settings=settings, memory=ScriptedMemory()) as bench:
        await bench.pool.load("a")
        await bench.pool.load("b")
        with pytest.raises(InsufficientMemory) as caught:
            await bench.pool.load("c")
        assert caught.value.should_retry is True
        assert (bench.state("a"), bench.state("b")) == ("ready", "ready")


async def test_two_starts_at_once_never_get_the_same_memory(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=6, b=6), memory=ScriptedMemory()) as bench:
        results = await asyncio.gather(bench.pool.load("a"), bench.pool.load("b"), return_exceptions=True)
        assert sorted(type(result) for result in results if result) == [InsufficientMemory]
        assert promised(bench) == 6 * GIB


async def test_nobody_is_sent_away_for_a_start_that_is_refused(make_bench: MakeBench) -> None:
    settings = sized(a=2, b=12) | {"residency": {"max_resident": 1}}
    async with make_bench(settings=settings, memory=ScriptedMemory()) as bench:
        ticket, worker = await bench.ready("a")
        ticket.leave()
        for _ in range(2):
            with pytest.raises(InsufficientMemory):
                await bench.ready("b")
        with pytest.raises(InsufficientMemory):
            await bench.pool.load("b")
        assert (bench.state("a"), view_of(bench, "a").pid) == ("ready", worker.pid)


async def test_a_swap_counts_what_the_one_that_goes_gives_back(make_bench: MakeBench) -> None:
    settings = sized(a=6, b=6) | {"residency": {"max_resident": 1}}
    async with make_bench(settings=settings, memory=ScriptedMemory()) as bench:
        for model in ("a", "b", "a"):
            ticket, _ = await bench.ready(model)
            ticket.leave()
            assert promised(bench) == 6 * GIB


async def test_a_promise_ends_with_its_worker_however_that_ends(make_bench: MakeBench) -> None:
    settings = sized(a=6) | {"models": {"a": {"memory_gb": 6, "engine": {"load_deadline_s": 1.0}}}}
    async with make_bench(settings=settings, memory=ScriptedMemory()) as bench:
        ticket, worker = await bench.ready("a")
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: promised(bench) == 0)
        ticket.leave()
    async with make_bench(flags={"a": ("--exit-after-load-s", "0")}, settings=settings) as bench:
        with pytest.raises(Exception, match=r"cannot (load|serve) a"):
            await bench.pool.load("a")
        await until(lambda: promised(bench) == 0)


async def test_a_worker_of_unknown_size_is_admitted_and_shown_as_such(make_bench: MakeBench) -> None:
    async with make_bench(settings={"memory": {"max_gb": 1.0}}, memory=ScriptedMemory()) as bench:
        await bench.pool.load("a")
        view = view_of(bench, "a")
        assert (view.memory, view.promised_bytes) == ("size unknown", None)


async def test_a_machine_that_does_not_tell_its_memory_loads_nothing(make_bench: MakeBench) -> None:
    memory = ScriptedMemory(failure="/proc/meminfo is gone")
    async with make_bench(memory=memory) as bench:
        with pytest.raises(InsufficientMemory, match="/proc/meminfo is gone"):
            await bench.ready("a")
        memory.failure = None
        await bench.pool.load("a")


async def test_what_a_worker_of_unknown_size_took_is_promised_to_its_next_start(make_bench: MakeBench) -> None:
    kept: list[tuple[str, str, Learned]] = []
    book = PeakBook(keep=lambda *change: kept.append(change))
    async with make_bench(memory=ScriptedMemory(), peaks=book) as bench:
        await bench.pool.load("a")
        assert view_of(bench, "a").promised_bytes is None
        await until(lambda: bench.pool.seen_bytes("a") > 0)
        await bench.pool.unload("a")
        ((_, model_id, learned),) = kept
        assert model_id == "a" and learned.peak is not None and 10 * 2**20 < learned.peak.host_bytes < GIB
        await bench.pool.load("a")
        view = view_of(bench, "a")
        assert view.memory is not None and view.memory.endswith("(measured peak)")
        assert view.promised_bytes == learned.peak.host_bytes + round(learned.peak.host_bytes * 0.03)


async def test_a_peak_above_its_declared_size_raises_the_next_promise(make_bench: MakeBench) -> None:
    async with make_bench(settings=sized(a=0.01), memory=ScriptedMemory()) as bench:
        await bench.pool.load("a")
        assert promised(bench) == round(0.01 * GIB)
        await until(lambda: bench.pool.seen_bytes("a") > 0)
        await bench.pool.restart("a")
        assert promised(bench) > round(0.01 * GIB)


async def test_the_line_of_every_load_tells_the_bytes_and_their_source(make_bench: MakeBench) -> None:
    """Declared, of unknown size, and what that one was then seen to take."""
    with capture_logs() as lines:
        async with make_bench(settings=sized(a=0.5), memory=ScriptedMemory()) as bench:
            await bench.pool.load("a")
            await bench.pool.load("b")
            await until(lambda: bench.pool.seen_bytes("b") > 0)
            await bench.pool.restart("b")
            measured = view_of(bench, "b").promised_bytes
    told = [(one["model"], one["host_bytes"], one["gpu_bytes"], one["source"]) for one in lines if is_promise(one)]
    assert told == [("a", GIB // 2, 0, "declared size"), ("b", 0, 0, "alone"), ("b", measured, 0, "measured peak")]


def is_promise(line: Mapping[str, Any]) -> bool:
    return bool(line["event"] == "memory promised")

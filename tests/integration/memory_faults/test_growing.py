"""Workers that take more than they were promised: after their load, in it, at once, or request by request.

Real processes with real pages on a machine whose budget is small: all models together may have 0.7 GiB.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import psutil
import pytest

from roost.errors import InsufficientMemory
from roost.testing.wait import until
from tests.integration.memory_faults.witness import Watch, nothing_suffers, private_mib, watching
from tests.integration.workers.conftest import Bench, MakeBench

#: Above its promise a worker may have so much where there is no more room.
MARGIN_MIB = 256
#: What is held back for the time that an end takes.
RESERVE_MIB = 0.48 * 1024
LEAK = ("--hold-mib", "200", "--leak-mib-s", "100", "--leak-most-mib", "800")
ENDED = "was ended for its memory: it had"


def small(**gigabytes: float) -> dict[str, Any]:
    """Declared sizes of the models."""
    return {
        "memory": {"max_gb": 0.7},
        "residency": {"max_resident": 3},
        "models": {name: {"memory_gb": size} for name, size in gigabytes.items()},
    }


def pids(bench: Bench) -> list[int]:
    return [view.pid for view in bench.pool.views() if view.pid]


async def recovers(bench: Bench, model: str, promised_mib: float) -> None:
    """Within five seconds the book holds nothing of what went, and the next load works by itself."""
    await until(lambda: bench.pool.promised_bytes() <= promised_mib * 2**20, timeout_s=5)
    await until(lambda: not bench.pool.memory_problem(), timeout_s=15)
    await bench.pool.load(model)
    assert bench.state(model) == "ready"


def stayed_within(watch: Watch, promised_gb: float) -> None:
    """All that there was together, when one went beyond its line; the last moment before its end may go unseen."""
    line = promised_gb * 1024 + MARGIN_MIB
    assert line - MARGIN_MIB / 2 < watch.most_mib < line + RESERVE_MIB


async def test_a_worker_that_leaks_is_ended_alone_before_the_reserve_is_used_up(make_bench: MakeBench) -> None:
    flags = {"a": LEAK}
    with nothing_suffers():
        async with make_bench("a", "b", "c", flags=flags, settings=small(a=0.1, b=0.05, c=0.04)) as bench:
            other, stays = await bench.ready("b")
            with watching(lambda: pids(bench)) as watch:
                ticket, leaks = await bench.ready("a")
                await until(lambda: not psutil.pid_exists(leaks.pid or 0), timeout_s=40)
            stayed_within(watch, 0.1)
            await until(lambda: ENDED in ticket.why_lost(), timeout_s=30)
            assert bench.state("b") == "ready" and psutil.pid_exists(stays.pid or 0)
            ticket.leave()
            other.leave()
            await recovers(bench, "c", 0.05 * 1024)
            # What it took is known now: it is not started into the same end.
            with pytest.raises(InsufficientMemory, match="measured peak"):
                await bench.pool.load("a")


async def test_a_worker_that_leaks_while_it_loads_is_ended_before_it_is_ready(make_bench: MakeBench) -> None:
    flags = {"a": (*LEAK, "--leaks-in-load", "--load-s", "60")}
    with nothing_suffers():
        async with make_bench("a", "b", flags=flags, settings=small(a=0.1, b=0.05)) as bench:
            with watching(lambda: pids(bench)) as watch, pytest.raises(InsufficientMemory, match=ENDED):
                await bench.pool.load("a")
            stayed_within(watch, 0.1)
            await recovers(bench, "b", 0)


async def test_a_load_that_takes_twice_its_size_for_a_while_is_ended_if_that_is_too_much(
    make_bench: MakeBench,
) -> None:
    flags = {"a": ("--hold-mib", "190", "--spike-mib", "190", "--load-s", "60")}
    with nothing_suffers():
        async with make_bench("a", "b", flags=flags, settings=small(a=0.1, b=0.05)) as bench:
            with watching(lambda: pids(bench)) as watch, pytest.raises(InsufficientMemory, match=ENDED):
                await bench.pool.load("a")
            stayed_within(watch, 0.1)
            await recovers(bench, "b", 0)


@pytest.mark.thorough
async def test_a_load_that_takes_twice_its_size_within_the_budget_is_let_be_and_remembered(
    make_bench: MakeBench,
) -> None:
    flags = {"a": ("--hold-mib", "120", "--spike-mib", "120", "--load-s", "2.5")}
    async with make_bench("a", flags=flags, settings=small(a=0.15)) as bench:
        await bench.pool.load("a")
        await until(lambda: bench.pool.seen_bytes("a") > 240 * 2**20, timeout_s=30)
        assert private_mib(pids(bench)[0]) < 180
        with pytest.raises(InsufficientMemory, match="measured peak"):
            await bench.pool.restart("a")
            await bench.ready("a")


async def test_an_estimate_of_half_the_truth_is_mended_by_the_first_run(make_bench: MakeBench) -> None:
    flags = {"a": ("--hold-mib", "160")}
    async with make_bench("a", "b", flags=flags, settings=small(a=0.08, b=0.13)) as bench:
        await bench.pool.load("a")
        assert bench.pool.promised_bytes() == round(0.08 * 2**30)
        await until(lambda: bench.pool.seen_bytes("a") > 160 * 2**20, timeout_s=30)
        # It has more than its promise, while all together have less than they may: nobody is ended for that.
        await bench.pool.unload("a")
        await bench.pool.load("a")
        assert bench.pool.promised_bytes() > 160 * 2**20
        # By its declared size it would fit beside the other one; by what is known it has to go for it.
        await bench.pool.load("b")
        assert bench.state("a") == "stopped"


async def test_a_prompt_cache_grows_to_its_cap_and_no_further(make_bench: MakeBench) -> None:
    """Each request leaves 10 MiB behind, as far as 60 are allowed."""
    flags = {"a": ("--cache-cap-mib", "60", "--behave", '{"keep_mib": 10}')}
    async with make_bench("a", flags=flags, settings=small(a=0.15)) as bench:
        for _ in range(12):
            await generate(bench, "a")
        taken = private_mib(pids(bench)[0])
        assert 60 < taken < 0.15 * 1024
        assert bench.state("a") == "ready" and not bench.pool.memory_problem()


@pytest.mark.thorough
async def test_a_cache_that_knows_no_cap_is_ended_with_its_worker(make_bench: MakeBench) -> None:
    flags = {"a": ("--behave", '{"keep_mib": 100}')}
    with nothing_suffers():
        async with make_bench("a", "b", flags=flags, settings=small(a=0.15, b=0.05)) as bench:
            ticket, worker = await bench.ready("a")
            for _ in range(9):
                if psutil.pid_exists(worker.pid or 0):
                    await generate(bench, "a", fails=True)
            await until(lambda: not psutil.pid_exists(worker.pid or 0))
            await until(lambda: ENDED in ticket.why_lost(), timeout_s=30)
            ticket.leave()
            await recovers(bench, "b", 0)


async def test_of_several_that_are_too_much_together_the_largest_beyond_its_promise_goes(make_bench: MakeBench) -> None:
    """Each stays below its own line."""
    flags = {"a": ("--hold-mib", "240"), "b": ("--hold-mib", "280"), "c": ("--hold-mib", "240")}
    settings = small(a=0.05, b=0.05, c=0.05)
    with nothing_suffers():
        async with make_bench("a", "b", "c", flags=flags, settings=settings) as bench:
            served = [await bench.ready(model) for model in ("a", "b", "c")]
            (_, first), (ticket, largest), (_, last) = served
            await until(lambda: not psutil.pid_exists(largest.pid or 0), timeout_s=30)
            await until(lambda: "b #1 is beyond its limit" in ticket.why_lost(), timeout_s=30)
            assert psutil.pid_exists(first.pid or 0) and psutil.pid_exists(last.pid or 0)
            for held, _ in served:
                held.leave()


async def test_a_long_prefill_is_part_of_what_is_seen(make_bench: MakeBench) -> None:
    """What one request takes for itself and gives back stays in the kernel's peak."""
    flags = {"a": ("--behave", '{"borrow_mib": 150}')}
    async with make_bench("a", flags=flags, settings=small(a=0.1)) as bench:
        await generate(bench, "a")
        await until(lambda: bench.pool.seen_bytes("a") > 150 * 2**20, timeout_s=30)
        # The answer is out before the engine gives back what it borrowed.
        await until(lambda: private_mib(pids(bench)[0]) < 60, timeout_s=10)
        assert bench.state("a") == "ready"


async def generate(bench: Bench, model: str, *, fails: bool = False) -> None:
    """One request to the worker itself."""
    try:
        ticket, worker = await bench.ready(model)
    except InsufficientMemory:
        assert fails
        return
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    try:
        async with worker.session.post(f"{worker.base_url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            await answer.read()
    except aiohttp.ClientError:
        assert fails
    finally:
        ticket.leave()

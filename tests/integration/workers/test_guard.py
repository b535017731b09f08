"""The guard over real workers, on a machine whose memory the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from roost.engines.caches import CachesKept
from roost.engines.types import WorkerHttp
from roost.errors import ConcurrencyLimit, InsufficientMemory, RoostError
from roost.host.memory_types import Pressure, Swap
from roost.memory import tripwire
from roost.memory.learned import Learned
from roost.testing.memory import GIB, ScriptedMemory
from roost.testing.wait import until
from roost.workers import guard
from roost.workers.peaks import PeakBook
from roost.workers.types import ReadyWorker, Ticket
from tests.integration.memory_faults.witness import private_mib
from tests.integration.workers.conftest import Bench, MakeBench

#: The floor of a machine with 64 GiB is 3.2 GiB.
SHORT, VERY_SHORT, NOTHING_LEFT = round(3.5 * GIB), 3 * GIB, GIB
TWO: dict[str, Any] = {"residency": {"max_resident": 2}}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """The same steps in tenths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "PERIOD_S", 0.05)
        patch.setattr(tripwire, "RISE_S", 0.2)
        patch.setattr(tripwire, "FALL_S", 0.5)
        yield


def alarm(bench: Bench) -> str:
    return bench.pool.memory_problem() or ""


async def test_short_memory_stops_new_loads_and_touches_nobody(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench(settings=TWO, memory=memory) as bench:
        await bench.pool.load("a")
        memory.change(available_bytes=SHORT)
        await until(lambda: "memory is short (yellow)" in alarm(bench))
        with pytest.raises(InsufficientMemory, match="memory is short") as caught:
            await bench.ready("b")
        assert caught.value.should_retry is True
        assert bench.state("a") == "ready"
        memory.change(available_bytes=60 * GIB)
        await until(lambda: not alarm(bench))
        await bench.pool.load("b")


async def test_below_the_floor_idle_workers_go_and_busy_ones_stay(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench(settings=TWO, memory=memory) as bench:
        ticket, busy = await bench.ready("a")
        await bench.pool.load("b")
        memory.change(available_bytes=VERY_SHORT)
        await until(lambda: bench.state("b") == "stopped")
        assert "(orange)" in alarm(bench) and "the floor is" in alarm(bench)
        assert bench.state("a") == "ready" and psutil.pid_exists(busy.pid or 0)
        ticket.leave()
        await until(lambda: bench.state("a") == "stopped")


async def test_swapping_while_a_model_is_loaded_unloads_it(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench(memory=memory) as bench:
        await bench.pool.load("a")
        swapped = 0
        async with asyncio.timeout(10):
            while bench.state("a") != "stopped":
                swapped += 2**20
                memory.change(swap=Swap(swapped, out_bytes=swapped))
                await asyncio.sleep(0)
        assert "swapped out while a model is loaded" in alarm(bench)


async def test_batches_in_line_are_answered_below_the_floor_and_others_wait_on(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench(memory=memory, settings={"models": {"a": {"max_requests": 9}}}) as bench:
        running = [bench.enter("a") for _ in range(4)]
        for ticket in running:
            await ticket.worker()
        batch, waiting = bench.enter("a", request_class="batch"), bench.enter("a")
        memory.change(available_bytes=VERY_SHORT)
        async with asyncio.timeout(10):
            with pytest.raises(InsufficientMemory, match="cannot serve a batch now"):
                await batch.worker()
        running[0].leave()
        await waiting.worker()
        for ticket in (*running, batch, waiting):
            ticket.leave()


async def test_batches_in_line_are_answered_at_the_first_level_and_others_wait_on(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory) as bench:
        running = [bench.enter("a") for _ in range(4)]
        for ticket in running:
            await ticket.worker()
        batch, waiting = bench.enter("a", request_class="batch"), bench.enter("a")
        memory.change(available_bytes=SHORT)
        async with asyncio.timeout(10):
            with pytest.raises(InsufficientMemory, match="cannot serve a batch now") as caught:
                await batch.worker()
        assert caught.value.should_retry is True
        assert "(yellow)" in alarm(bench) and alarm(bench).endswith("done: answered a waiting batch of a")
        running[0].leave()
        await waiting.worker()
        for ticket in (*running, batch, waiting):
            ticket.leave()


async def test_idle_workers_drop_their_caches_at_the_first_level_once_for_each_rest(make_bench: MakeBench) -> None:
    """Real pages: the memory of 60 MiB of cached prompts comes back, and who is busy keeps its own."""
    memory = ScriptedMemory()
    flags = dict.fromkeys(("a", "b"), ("--cache-cap-mib", "60", "--behave", '{"keep_mib": 30}'))
    async with make_bench(flags=flags, memory=memory, settings=TWO) as bench:
        ticket, busy = await asked_twice(bench, "a")
        other, idle = await asked_twice(bench, "b")
        other.leave()
        full = private_mib(idle.pid or 0)
        memory.change(available_bytes=SHORT)
        await until(lambda: alarm(bench).endswith("done: dropped the caches of b"))
        assert private_mib(idle.pid or 0) < full - 55 and private_mib(busy.pid or 0) > 60
        looks = memory.looks
        await until(lambda: memory.looks > looks + 5)
        assert alarm(bench).count("dropped") == 1 and bench.state("b") == "ready"
        ticket.leave()
        await until(lambda: alarm(bench).endswith("dropped the caches of a"))
        assert private_mib(busy.pid or 0) < full - 55


async def asked_twice(bench: Bench, model: str) -> tuple[Ticket, ReadyWorker]:
    ticket, worker = await bench.ready(model)
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    for _ in range(2):
        async with worker.session.post(f"{worker.base_url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            await answer.read()
    return ticket, worker


async def test_a_pinned_one_that_stays_below_the_floor_drops_its_caches(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    settings = {"residency": {"max_resident": 2, "pinned": ["a"]}}
    async with make_bench(settings=settings, memory=memory) as bench:
        await bench.pool.load("a")
        await bench.pool.load("b")
        memory.change(available_bytes=VERY_SHORT, swap=Swap(0))
        await until(lambda: bench.state("b") == "stopped")
        await until(lambda: "dropped the caches of a" in alarm(bench))
        assert bench.state("a") == "ready"


async def test_a_worker_that_cannot_drop_its_caches_is_let_be(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory) as bench:
        asked: list[str] = []

        async def fails(worker: WorkerHttp) -> None:
            asked.append(worker.base_url)
            raise CachesKept("it answers 500: no")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench.engine, "drop_caches", fails)
            await bench.pool.load("a")
            memory.change(available_bytes=SHORT)
            await until(lambda: bool(asked))
            looks = memory.looks
            await until(lambda: memory.looks > looks + 3)
        assert len(asked) == 1 and bench.state("a") == "ready" and "done" not in alarm(bench)
        ticket, _ = await bench.ready("a")
        ticket.leave()


async def test_when_next_to_nothing_is_left_a_busy_worker_is_ended_and_a_pinned_one_is_not(
    make_bench: MakeBench,
) -> None:
    memory = ScriptedMemory()
    settings = {"residency": {"max_resident": 2, "pinned": ["a"]}}
    async with make_bench(settings=settings, memory=memory) as bench:
        (pinned, stays), (victim, goes) = await bench.ready("a"), await bench.ready("b")
        memory.change(available_bytes=NOTHING_LEFT, pressure=Pressure(40.0, 20.0))
        await until(lambda: not psutil.pid_exists(goes.pid or 0))
        await until(lambda: bench.state("b") == "stopped")
        assert "was ended with" in victim.why_lost() and "memory is short (red)" in victim.why_lost()
        assert bench.state("a") == "ready" and psutil.pid_exists(stays.pid or 0)
        assert bench.pool.promised_bytes() == 0
        pinned.leave()
        victim.leave()


def lower_budget(bench: Bench, gigabytes: float) -> None:
    """As a changed file would, without the restart of anything."""
    object.__setattr__(bench.settings, "memory", bench.settings.memory.model_copy(update={"max_gb": gigabytes}))


async def test_a_worker_beyond_its_promise_is_ended_at_once_and_that_is_remembered(make_bench: MakeBench) -> None:
    """All may have 20 MB together: `a`, whose size nobody declared, takes more than that alone."""
    kept: list[tuple[str, Learned]] = []
    book = PeakBook(keep=lambda key, model_id, learned: kept.append((model_id, learned)))
    async with make_bench("a", memory=ScriptedMemory(), peaks=book) as bench:
        ticket, worker = await bench.ready("a")
        lower_budget(bench, 0.02)
        await until(lambda: not psutil.pid_exists(worker.pid or 0))
        await until(lambda: bench.state("a") == "stopped")
        assert "a #1 is beyond its limit" in ticket.why_lost()
        ((model_id, learned),) = kept
        assert model_id == "a" and learned.at_least_bytes > 0.02 * GIB
        ticket.leave()


async def test_who_keeps_its_promise_is_not_ended_for_a_budget_that_was_lowered(make_bench: MakeBench) -> None:
    memory, settings = ScriptedMemory(), {"models": {"a": {"memory_gb": 1.0}}}
    async with make_bench("a", settings=settings, memory=memory) as bench:
        await bench.pool.load("a")
        await until(lambda: bench.pool.seen_bytes("a") > 0)
        lower_budget(bench, 0.02)
        looks = memory.looks
        await until(lambda: memory.looks > looks + 5)
        assert bench.state("a") == "ready" and not alarm(bench)


async def test_a_sensor_that_fails_stops_new_loads_and_ends_nobody(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench(settings=TWO, memory=memory) as bench:
        await bench.pool.load("a")
        memory.failure = "/proc/meminfo is gone"
        await until(lambda: "memory cannot be read: /proc/meminfo is gone" in alarm(bench))
        with pytest.raises(InsufficientMemory):
            await bench.ready("b")
        assert bench.state("a") == "ready"
        memory.failure = None
        await until(lambda: not alarm(bench))


async def test_short_memory_leaves_a_model_one_request_at_a_time(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory) as bench:
        ticket, _ = await bench.ready("a")
        memory.change(available_bytes=SHORT)
        await until(lambda: "(yellow)" in alarm(bench))
        with pytest.raises(ConcurrencyLimit, match="memory is short") as caught:
            bench.enter("a")
        assert caught.value.status == 429 and caught.value.retry_after_s
        ticket.leave()
        with pytest.raises(ConcurrencyLimit):
            bench.enter("a", request_class="batch")
        ticket, _ = await bench.ready("a")
        ticket.leave()


async def test_below_the_floor_nothing_is_taken_and_batches_that_run_end_the_newest_first(
    make_bench: MakeBench,
) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory) as bench:
        first, second = (bench.enter("a", request_class="batch") for _ in range(2))
        person = bench.enter("a")
        for ticket in (first, second, person):
            await ticket.worker()
        told_at_once: list[RoostError] = []
        second.on_revoked(told_at_once.append)
        memory.change(available_bytes=VERY_SHORT)
        await until(lambda: ends(second))
        assert [error.code for error in told_at_once] == ["insufficient_memory"]
        told = ends(first)
        await until(lambda: ends(first))
        assert not told and not ends(person)
        with pytest.raises(ConcurrencyLimit):
            bench.enter("a")
        assert "done: cancelled a request of a" in alarm(bench)
        for ticket in (first, second, person):
            ticket.leave()
        await until(lambda: bench.state("a") == "stopped")
        assert alarm(bench).endswith("unloaded a")
        memory.change(available_bytes=60 * GIB)
        await until(lambda: not alarm(bench))


def ends(ticket: Ticket) -> bool:
    """Whether its next token is its last."""
    try:
        ticket.beat()
    except InsufficientMemory as error:
        assert "was stopped in mid-answer: memory is short" in error.message
        return True
    return False


async def test_one_request_ends_a_look_and_batches_before_people(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory, settings={"residency": {"pinned": ["a"]}}) as bench:
        batch, person = bench.enter("a", request_class="batch"), bench.enter("a")
        told: list[tuple[str, int]] = []
        for name, ticket in (("batch", batch), ("person", person)):
            await ticket.worker()
            ticket.on_revoked(lambda error, name=name: told.append((name, memory.looks)))  # type: ignore[misc]
        memory.change(available_bytes=NOTHING_LEFT)
        await until(lambda: len(told) == 2)
        (first, early), (second, late) = told
        assert (first, second) == ("batch", "person") and early < late
        batch.leave()
        person.leave()


async def test_when_next_to_nothing_is_left_a_persons_request_ends_too(make_bench: MakeBench) -> None:
    memory = ScriptedMemory()
    async with make_bench("a", memory=memory, settings={"residency": {"pinned": ["a"]}}) as bench:
        ticket, _ = await bench.ready("a")
        memory.change(available_bytes=NOTHING_LEFT)
        await until(lambda: ends(ticket))
        assert "(red)" in alarm(bench) and bench.state("a") == "ready"
        ticket.leave()

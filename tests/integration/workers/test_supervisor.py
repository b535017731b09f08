"""The pool over real processes, real sockets, real signals."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import Awaitable
from typing import Any

import aiohttp
import psutil
import pytest

from roost.errors import (
    ConcurrencyLimit,
    ModelLoading,
    ModelLoadingTimeout,
    ModelNotFound,
    ModelNotResident,
    ShuttingDown,
    Unavailable,
    WorkerFailed,
)
from roost.testing.wait import until
from roost.workers.ends import STOP_GRACE_S
from roost.workers.station import Place
from roost.workers.types import Phase, ReadyWorker
from tests.integration.workers.conftest import Bench, MakeBench


async def chat(worker: ReadyWorker, **behaviour: Any) -> tuple[int, bytes]:
    body = {"model": worker.served_name, "messages": [{"role": "user", "content": "hi"}], "x_stand_in": behaviour}
    async with worker.session.post(f"{worker.base_url}/v1/chat/completions", json=body) as response:
        return response.status, await response.read()


def gone(pid: int | None) -> bool:
    return pid is not None and not psutil.pid_exists(pid)


async def test_a_request_starts_the_worker_and_is_answered(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        ticket, worker = await bench.ready("a")
        status, body = await chat(worker)
        ticket.leave()
        assert status == 200 and b'"model": "a"' in body
        (view,) = bench.pool.views()
        assert (view.state, view.grade, view.running) == ("ready", "cmdline", 0)


async def test_a_herd_of_two_hundred_starts_one_worker(make_bench: MakeBench) -> None:
    async with make_bench(settings={"queue": {"max_requests": 500}}) as bench:
        tickets = [bench.enter("a") for _ in range(200)]
        served = 0

        async def one(ticket: Any) -> None:
            nonlocal served
            await ticket.worker()
            served += 1
            ticket.leave()

        async with asyncio.timeout(20):
            await asyncio.gather(*(one(ticket) for ticket in tickets))
        assert served == 200
        assert len(list((bench.folder / "state/run/workers").iterdir())) == 1


async def test_an_unknown_model_starts_nothing(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        with pytest.raises(ModelNotFound):
            bench.enter("aa")
        assert bench.pool.views() == ()


async def test_a_worker_killed_before_its_first_byte_is_replaced_and_the_request_retried(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        ticket, worker = await bench.ready("a")
        with pytest.raises(aiohttp.ClientError):
            await chat(worker, die_after_tokens=0)
        assert await ticket.failed(ConnectionResetError())
        second = await ticket.worker()
        assert second.pid != worker.pid
        assert (await chat(second))[0] == 200
        ticket.leave()


async def test_waiters_wait_when_a_ready_worker_dies(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        bench.engine.concurrency = 1
        first, worker = await bench.ready("a")
        second = bench.enter("a")
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert (await second.worker()).pid != worker.pid
        assert "SIGKILL" in first.why_lost()
        first.leave()
        second.leave()


async def test_an_exit_while_loading_answers_its_waiters_at_once_with_the_reason(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--load-fails", "no such tensor: blk.0", "--exit-code", "3")}) as bench:
        ticket = bench.enter("a")
        with pytest.raises(WorkerFailed) as caught:
            await ticket.worker()
        assert "code 3" in caught.value.message and "no such tensor: blk.0" in caught.value.message
        ticket.leave()


async def test_a_second_failure_in_a_row_backs_off_without_a_start(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--exit-at-start",)}) as bench:
        for _ in range(2):
            ticket = bench.enter("a")
            with pytest.raises(WorkerFailed):
                await ticket.worker()
            ticket.leave()
            await until(lambda: bench.state("a") in ("stopped", "backoff"))
        with pytest.raises(WorkerFailed) as caught:
            bench.enter("a")
        assert caught.value.retry_after_s and caught.value.should_retry
        assert bench.state("a") == "backoff"


async def test_too_many_failures_wait_for_a_person(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--exit-at-start",)}) as bench:
        for _ in range(5):
            with pytest.raises(WorkerFailed):
                await bench.pool.load("a")
        assert bench.state("a") in ("stopped", "backoff")  # a person's own tries start the count anew
        bench.pool._stations["a"].failures[:] = [bench.pool.now()] * 4
        await until(lambda: bench.state("a") == "stopped", timeout_s=20)
        ticket = bench.enter("a")
        with pytest.raises(WorkerFailed):
            await ticket.worker()
        await until(lambda: bench.state("a") == "failed")
        with pytest.raises(WorkerFailed) as caught:
            bench.enter("a")
        assert caught.value.should_retry is False and "roost restart a" in caught.value.message
        bench.engine.flags.clear()
        await bench.pool.restart("a")
        assert bench.state("a") == "ready"


async def test_a_swap_waits_for_running_requests_and_never_cuts_them(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        first, worker = await bench.ready("a")
        answer = asyncio.gather(chat(worker, tokens=20, token_delay_s=0.1))
        other = bench.enter("b")
        await until(lambda: bench.state("a") == "draining", timeout_s=20)
        status, _ = (await answer)[0]
        assert status == 200 and bench.state("a") == "draining"
        first.leave()
        async with asyncio.timeout(10):
            assert (await other.worker()).model_id == "b"
        assert gone(worker.pid)
        other.leave()


async def test_a_request_that_leaves_the_queue_never_starts_its_model(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        first, _ = await bench.ready("a")
        other = bench.enter("b")
        assert other.progress().phase is Phase.QUEUED and other.progress().position == 1
        other.leave()
        first.leave()
        await asyncio.gather(bench.pool.unload("a"))
        assert bench.state("b") in ("unknown", "stopped") and bench.pool._stations["b"].number == 0


async def test_a_worker_held_by_sigstop_is_killed_and_its_request_told(make_bench: MakeBench) -> None:
    async with make_bench(settings={"engine": {"stall_s": 0.8}}) as bench:
        ticket, worker = await bench.ready("a")
        assert worker.pid
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(15):
                await chat(worker)
        assert ticket.why_lost().startswith("stalled")
        assert not await ticket.failed(ConnectionResetError())
        ticket.leave()
        again, fresh = await bench.ready("a")
        assert fresh.pid != worker.pid
        again.leave()


async def test_a_busy_silent_worker_lives(make_bench: MakeBench) -> None:
    """A long prefill gives no token for a while; it works, so it is left alone."""
    async with make_bench(settings={"engine": {"stall_s": 0.4}}) as bench:
        ticket, worker = await bench.ready("a")
        status, _ = await chat(worker, busy_s=2.5)
        assert status == 200
        ticket.leave()
        assert bench.state("a") == "ready" and bench.pool._stations["a"].number == 1


async def test_a_worker_that_ignores_sigterm_is_killed_with_its_grandchild(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--ignore-term", "--fork-grandchild")}) as bench:
        ticket, worker = await bench.ready("a")
        assert worker.pid
        family = [process.pid for process in psutil.Process(worker.pid).children(recursive=True)]
        assert family
        ticket.leave()
        await bench.pool.close(0)
        assert all(gone(pid) for pid in (worker.pid, *family))


async def test_a_worker_told_to_stop_in_its_first_moments_gets_the_signal(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--never-listens",)}) as bench:
        bench.enter("a")
        await until(lambda: bench.pool._stations["a"].run is not None)
        async with asyncio.timeout(STOP_GRACE_S / 2):
            await bench.pool.close(30.0)


async def test_a_load_without_a_sign_of_life_is_given_up(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--never-listens",)}, settings={"engine": {"load_deadline_s": 1.5}}) as bench:
        ticket = bench.enter("a")
        with pytest.raises(ModelLoadingTimeout):
            async with asyncio.timeout(20):
                await ticket.worker()
        ticket.leave()


async def test_never_answers_at_once_and_names_the_resident(make_bench: MakeBench) -> None:
    async with make_bench(settings={"rotation": {"policy": "never"}}) as bench:
        first, _ = await bench.ready("a")
        with pytest.raises(ModelNotResident) as caught:
            bench.enter("b")
        assert caught.value.should_retry is False and "a is resident" in caught.value.message
        first.leave()


async def test_idle_says_when_to_come_again(make_bench: MakeBench) -> None:
    async with make_bench(settings={"rotation": {"policy": "idle", "min_idle_s": 30}}) as bench:
        first, _ = await bench.ready("a")
        first.leave()
        with pytest.raises(ModelNotResident) as caught:
            bench.enter("b")
        assert caught.value.retry_after_s and 25 < caught.value.retry_after_s <= 30


async def test_the_queue_is_bounded(make_bench: MakeBench) -> None:
    async with make_bench(settings={"queue": {"max_requests": 2}}) as bench:
        tickets = [bench.enter("a"), bench.enter("a")]
        with pytest.raises(ConcurrencyLimit):
            bench.enter("a")
        for ticket in tickets:
            ticket.leave()
        bench.enter("a").leave()


async def test_who_does_not_want_to_wait_is_told_that_it_loads(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        with pytest.raises(ModelLoading):
            bench.enter("a", wait_for_load=False)
        await until(lambda: bench.state("a") == "ready")
        bench.enter("a", wait_for_load=False).leave()


async def test_an_idle_model_is_unloaded_after_its_time(make_bench: MakeBench) -> None:
    async with make_bench(settings={"engine": {"idle_ttl_s": 0.3}}) as bench:
        ticket, worker = await bench.ready("a")
        ticket.leave()
        await until(lambda: bench.state("a") == "stopped")
        assert gone(worker.pid)


async def test_an_auxiliary_worker_stands_beside_the_resident(make_bench: MakeBench) -> None:
    async with make_bench("a", "e", auxiliary=["e"], settings={"rotation": {"policy": "never"}}) as bench:
        first, _ = await bench.ready("a")
        second, _ = await bench.ready("e")
        assert (bench.state("a"), bench.state("e")) == ("ready", "ready")
        first.leave()
        second.leave()


async def test_closing_refuses_the_new_answers_the_waiting_and_drains_the_running(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        running, worker = await bench.ready("a")
        waiting = bench.enter("b")
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(bench.pool.close(5.0))
            with pytest.raises(ShuttingDown):
                await waiting.worker()
            with pytest.raises(ShuttingDown):
                bench.enter("a")
            assert (await chat(worker))[0] == 200
            assert not closing.done()
            running.leave()
            waiting.leave()
        assert gone(worker.pid)


async def test_nothing_is_left_on_disk_but_the_log(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        ticket, _ = await bench.ready("a")
        ticket.leave()
        await bench.pool.unload("a")
        left = [path.name for path in (bench.folder / "state/run").rglob("*") if path.is_file() or path.is_socket()]
        assert left == []


async def test_ten_thousand_cancelled_requests_leave_no_trace(make_bench: MakeBench) -> None:
    """Half wait for a model that is not loaded, half for a busy one; all are cancelled while they wait."""
    async with make_bench(settings={"queue": {"max_requests": 100_000, "max_wait_s": 600.0}}) as bench:
        bench.engine.concurrency = 1
        first, worker = await bench.ready("a")
        tasks_before = len(asyncio.all_tasks())

        async def wait_and_leave(model: str) -> None:
            ticket = bench.enter(model)
            try:
                await ticket.worker()
            finally:
                ticket.leave()

        for _ in range(40):
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(wait_and_leave("ab"[number % 2])) for number in range(250)]
                await until(lambda: queued(bench) == {"a": 125, "b": 125})
                for task in random.Random(4).sample(waiting, len(waiting)):
                    task.cancel()
        assert queued(bench) == {}
        assert len(asyncio.all_tasks()) == tasks_before
        del waiting, task
        gc.collect()
        assert len([thing for thing in gc.get_objects() if isinstance(thing, Place)]) == 1
        (view,) = bench.pool.views()
        assert (view.model_id, view.pid, view.running) == ("a", worker.pid, 1)
        first.leave()
        await bench.pool.unload("a")
        assert bench.pool._stations["b"].number == 0


def queued(bench: Bench) -> dict[str, int]:
    return {view.model_id: view.queued for view in bench.pool.views() if view.queued}


async def test_requests_that_share_a_window_and_may_not_fit_together_run_one_after_the_other(
    make_bench: MakeBench,
) -> None:
    async with make_bench() as bench:
        bench.engine.shared_window = 1000
        first = bench.enter("a", prompt_bytes=1800, max_tokens=100)
        await first.worker()
        beside = bench.enter("a", prompt_bytes=300, max_tokens=100)
        await beside.worker()
        too_long = bench.enter("a", prompt_bytes=1500, max_tokens=100)
        small = bench.enter("a", prompt_bytes=3, max_tokens=1)
        assert (too_long.progress().position, small.progress().position) == (1, 2), "the first is not overtaken"
        first.leave()
        await too_long.worker()
        await small.worker()
        for ticket in (beside, too_long, small):
            ticket.leave()


async def test_a_request_larger_than_the_window_runs_alone(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        bench.engine.shared_window = 100
        ticket = bench.enter("a", prompt_bytes=9000)
        await ticket.worker()
        ticket.leave()


async def test_interactive_requests_go_before_a_batch(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        bench.engine.concurrency = 1
        first, _ = await bench.ready("a")
        batch = bench.enter("a", request_class="batch")
        person = bench.enter("a")
        assert (person.progress().position, batch.progress().position) == (1, 2)
        for ticket in (first, batch, person):
            ticket.leave()


async def test_changed_settings_restart_the_worker_that_they_concern_after_its_requests(make_bench: MakeBench) -> None:
    async with make_bench("a", "e", auxiliary=["e"]) as bench:
        ticket, worker = await bench.ready("a")
        other, beside = await bench.ready("e")
        await bench.pool.reconsider()
        assert bench.state("a") == "ready"
        bench.engine.flags["a"] = ("--context", "4096")
        await bench.pool.reconsider()
        assert (bench.state("a"), bench.state("e")) == ("draining", "ready")
        assert (await chat(worker))[0] == 200
        waiting = bench.enter("a")
        ticket.leave()
        async with asyncio.timeout(10):
            fresh = await waiting.worker()
        assert fresh.pid != worker.pid and (await chat(beside))[0] == 200
        waiting.leave()
        other.leave()


@pytest.mark.parametrize("failures", [1, 4])
async def test_a_model_whose_failing_command_was_mended_is_started_at_once(
    make_bench: MakeBench, failures: int
) -> None:
    """In back-off, and given up: the failures counted another command."""
    async with make_bench(flags={"a": ("--exit-at-start",)}) as bench:
        bench.pool._station("a").failures[:] = [bench.pool.now()] * failures
        with pytest.raises(WorkerFailed):
            await bench.enter("a").worker()
        state = "backoff" if failures == 1 else "failed"
        await until(lambda: bench.state("a") == state)
        await bench.pool.reconsider()
        assert bench.state("a") == state, "nothing was mended"
        bench.engine.flags.clear()
        await bench.pool.reconsider()
        ticket, worker = await bench.ready("a")
        assert (await chat(worker))[0] == 200
        ticket.leave()


async def test_settings_that_cannot_be_used_leave_the_worker_as_it_is(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        ticket, worker = await bench.ready("a")
        bench.engine.refuses = True
        await bench.pool.reconsider()
        assert bench.state("a") == "ready" and (await chat(worker))[0] == 200
        ticket.leave()


async def test_the_worker_of_a_model_that_was_removed_ends_after_its_requests(make_bench: MakeBench) -> None:
    """Nobody could ask for it any more, and it would keep its memory for ever."""
    async with make_bench("a", "b") as bench:
        ticket, worker = await bench.ready("a")
        models = bench.models()
        del models["a"]
        await bench.pool.reconsider()
        assert bench.state("a") == "draining" and (await chat(worker))[0] == 200
        ticket.leave()
        await until(lambda: bench.state("a") == "unknown")
        with pytest.raises(ModelNotFound):
            await bench.pool.restart("a")
        assert bench.state("a") == "unknown", "nothing of it is left to be shown"


async def test_a_restart_that_is_under_way_at_the_end_starts_nothing_more(make_bench: MakeBench) -> None:
    """The pool's own end would wait for that start for ever."""
    async with asyncio.timeout(20), make_bench("a") as bench:
        await bench.ready("a")
        async with asyncio.TaskGroup() as group:
            restarting = group.create_task(refused(bench.pool.restart("a")))
            await until(lambda: bench.state("a") == "draining")
            await bench.pool.close(0.0)
            await restarting
        assert bench.state("a") == "stopped"


async def test_an_unload_while_the_first_token_is_made_is_no_failure(make_bench: MakeBench) -> None:
    async with make_bench(flags={"a": ("--prefill-delay-s", "30")}) as bench, asyncio.TaskGroup() as group:
        loading = group.create_task(refused(bench.pool.load("a"), Unavailable))
        await until(lambda: bench.state("a") == "proving")
        await bench.pool.unload("a")
        await loading
        (view,) = (view for view in bench.pool.views() if view.model_id == "a")
        assert (view.state, view.problem) == ("stopped", None)


async def refused(work: Awaitable[None], error: type[Exception] = ShuttingDown) -> None:
    with pytest.raises(error):
        await work

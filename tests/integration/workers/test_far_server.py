"""A server that roost does not run: away, back, silent, refusing, ending. Real sockets, the real engine `external`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.engines.external import External
from roost.errors import ModelLoadingTimeout, NodeUnreachable, WorkerFailed
from roost.host.memory_types import MemorySensor
from roost.testing.memory import ScriptedMemory
from roost.testing.stand_in import StandInEngine, stand_in_world
from roost.testing.wait import until
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry, ReadyWorker, WorkerView

#: Far below `engine.load_deadline_s`, far above what a refused connection takes.
SOON_S = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def pool_for(
    folder: Path, port: int, memory: MemorySensor | None = None, **engine: Any
) -> AsyncIterator[Supervisor]:
    """A pool whose one model `far` is served by whatever listens on the port."""
    settings = Settings.model_validate(
        {"models": {"far": {"external": {"url": f"http://127.0.0.1:{port}/v1"}}}, "engine": engine}
    )
    world = stand_in_world(folder, StandInEngine(), ["far"], lambda: settings, auxiliary=["far"], memory=memory)
    far = External(Paths.from_environment({"ROOST_HOME": str(folder)}), {})
    pool = Supervisor(replace(world, choose_engine=lambda spec, knobs, model: far))
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        group.create_task(pool.run(started))
        await started.wait()
        try:
            yield pool
        finally:
            await pool.close(1.0)


@asynccontextmanager
async def serving(port: int, models_status: int = 200) -> AsyncIterator[web.BaseSite]:
    """An OpenAI server on the port: its models, and an endless answer to everything else."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "far"}]}, status=models_status)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"data: {}\n\n")
            await asyncio.sleep(0.02)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield site
    finally:
        await runner.cleanup()


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: the next one gets no answer at all, as from a host that is off."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
        for caller in callers:
            caller.close()


async def served(pool: Supervisor) -> ReadyWorker:
    """One request's worker, the place in line given back."""
    ticket = pool.enter("far", Entry("request"))
    try:
        return await ticket.worker()
    finally:
        ticket.leave()


async def refused(pool: Supervisor) -> NodeUnreachable:
    async with asyncio.timeout(SOON_S):
        with pytest.raises(NodeUnreachable) as caught:
            await served(pool)
    return caught.value


async def call(pool: Supervisor) -> tuple[str, bool]:
    """One request to the end of its connection, as the gateway makes it: why it was lost, and whether to try again."""
    ticket = pool.enter("far", Entry("request"))
    try:
        worker = await ticket.worker()
        try:
            async with worker.session.post(f"{worker.base_url}/v1/chat/completions", json={}):
                return "", False
        except aiohttp.ClientError as error:
            return ticket.why_lost() if not await ticket.failed(error) else "", True
    finally:
        ticket.leave()


def view(pool: Supervisor) -> WorkerView:
    return pool.views()[0]


def in_state(pool: Supervisor, state: str) -> Callable[[], bool]:
    return lambda: view(pool).state == state


async def test_a_server_that_is_not_there_is_said_at_once_with_its_address_and_what_to_do(short_path: Path) -> None:
    port = free_port()
    async with pool_for(short_path, port) as pool:
        error = await refused(pool)
        assert f"http://127.0.0.1:{port}/v1: connection refused" in error.message
        assert "start that server" in error.message and error.retry_after_s
        assert view(pool).problem == error.message and "start that server" in (view(pool).mend or "")


async def test_after_three_failures_nobody_waits_for_a_connection(short_path: Path) -> None:
    async with pool_for(short_path, free_port()) as pool:
        await refused(pool)
        await until(in_state(pool, "backoff"))
        before = time.monotonic()
        with pytest.raises(NodeUnreachable) as caught:
            pool.enter("far", Entry("request"))
        assert time.monotonic() - before < 0.1 and caught.value.retry_after_s and caught.value.should_retry


async def test_it_serves_again_by_itself_once_it_is_back(short_path: Path) -> None:
    port = free_port()
    async with pool_for(short_path, port) as pool:
        await refused(pool)
        await until(in_state(pool, "backoff"))
        async with serving(port):
            await until(in_state(pool, "ready"), timeout_s=15)
            assert view(pool).problem is None and (await served(pool)).model_id == "far"


async def test_one_that_goes_away_while_ready_is_said_at_the_next_request(short_path: Path) -> None:
    port = free_port()
    async with pool_for(short_path, port) as pool:
        async with serving(port):
            await served(pool)
        async with asyncio.timeout(SOON_S):
            why, _ = await call(pool)
        assert why.startswith("cannot reach far at http://127.0.0.1")
        await until(lambda: view(pool).problem == why)
        async with serving(port):
            await until(in_state(pool, "ready"), timeout_s=15)


async def test_one_that_nobody_asks_is_looked_at_now_and_then(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.workers.run.FAR_LOOK_PERIOD_S", 0.1)
    port = free_port()
    async with pool_for(short_path, port) as pool:
        async with serving(port):
            await served(pool)
        await until(lambda: view(pool).problem is not None)


async def test_a_host_that_is_off_is_said_within_the_time_for_a_connection(short_path: Path) -> None:
    with deaf_port() as port:
        async with pool_for(short_path, port) as pool:
            assert "no connection within 3 s" in (await refused(pool)).message


async def test_a_server_that_ends_finishes_the_answers_that_it_still_sends(short_path: Path) -> None:
    port = free_port()
    async with pool_for(short_path, port) as pool, serving(port) as site:
        ticket = pool.enter("far", Entry("request"))
        worker = await ticket.worker()
        async with worker.session.post(f"{worker.base_url}/v1/chat/completions") as response:
            await response.content.readany()
            ticket.beat()
            await site.stop()
            why, _ = await call(pool)
            assert why.startswith("cannot reach far")
            assert view(pool).state == "ready" and await response.content.readany()
        ticket.leave()


async def test_one_that_refuses_the_key_keeps_nobody_waiting(short_path: Path) -> None:
    port = free_port()
    async with serving(port, models_status=401), pool_for(short_path, port) as pool:
        async with asyncio.timeout(SOON_S):
            with pytest.raises(WorkerFailed, match="refuses the key"):
                await served(pool)


@pytest.mark.parametrize("status", [502, 504])
async def test_a_proxy_with_nobody_behind_it_is_not_loading(short_path: Path, status: int) -> None:
    port = free_port()
    async with serving(port, models_status=status), pool_for(short_path, port) as pool:
        assert str(status) in (await refused(pool)).message


async def test_a_server_that_loads_is_waited_for(short_path: Path) -> None:
    port = free_port()
    async with serving(port, models_status=503), pool_for(short_path, port, load_deadline_s=2.0) as pool:
        with pytest.raises(ModelLoadingTimeout):
            await served(pool)


async def test_one_is_served_whatever_this_machines_memory_says(short_path: Path) -> None:
    port = free_port()
    async with serving(port), pool_for(short_path, port, ScriptedMemory(failure="it is gone")) as pool:
        await served(pool)
        (view,) = pool.views()
        assert (view.memory, view.promised_bytes, pool.promised_bytes()) == ("not loaded by roost", None, 0)

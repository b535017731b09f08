"""Websockets through /upstream: real sockets on both sides, a fake pool where its word is enough, else a real one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from roost.config.settings import Settings
from roost.registry.types import Registry, RegistryState
from roost.store.keys import Consumer
from roost.testing.engine import EngineOptions
from roost.testing.stand_in import StandInEngine, declared_spec, stand_in_world
from roost.testing.wait import until
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry
from tests.helpers import process_lives
from tests.integration.gateway.front import (
    MODEL,
    FakeKeys,
    Front,
    MemoryActivity,
    State,
    front,
    gateway_deps,
    gateway_settings,
    listening,
)

WS = f"/upstream/{MODEL}/ws"


def order(**what: Any) -> dict[str, Any]:
    return {"x_stand_in": what}


def connect(gate: Front, path: str = WS, **more: Any) -> Any:
    return gate.session.ws_connect(gate.url + path, **more)


async def refused(gate: Front, path: str = WS, **more: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(gate, path, **more)
    return caught.value.status


def worker_saw(gate: Front) -> list[Any]:
    return gate.engine.recorder.requests


async def over(gate: Front) -> None:
    """Nothing of it is left: the slot is free, and the worker knows."""
    await until(lambda: gate.worker.running == 0 and gate.engine.recorder.running == 0)
    assert all(ticket.left for ticket in gate.pool.tickets)


async def test_messages_of_both_kinds_and_any_size_come_back_as_they_were(gate: Front) -> None:
    large = os.urandom(3 * 2**20)
    async with connect(gate) as socket:
        await socket.send_str("Grüße \U0001f426")
        assert (await socket.receive()).data == "Grüße \U0001f426"
        await socket.send_bytes(large)
        assert (await socket.receive()).data == large
        await socket.send_bytes(b"")
        assert (await socket.receive()).data == b""
    await over(gate)
    row = await gate.row()
    sent = len("Grüße \U0001f426".encode()) + len(large)
    assert (row.status, row.code, row.bytes_in, row.bytes_out, row.resolved) == (101, None, sent, sent, MODEL)


async def test_a_worker_on_a_unix_socket_is_reached_too(short_path: Path) -> None:
    path = short_path / "w.sock"
    options, worker = EngineOptions(uds=path), {"socket_path": str(path)}
    async with front(short_path, options=options, worker=worker) as gate, connect(gate) as socket:
        await socket.send_str("hello")
        assert (await socket.receive()).data == "hello"


async def test_the_worker_chooses_among_the_clients_subprotocols_and_never_sees_a_key_in_them(gate: Front) -> None:
    offered = ("openai-insecure-api-key.sk-secret", "other", "echo.v1")
    async with connect(gate, protocols=offered) as socket:
        assert socket.protocol == "echo.v1"
    async with connect(gate, protocols=("other",)) as socket:
        assert socket.protocol is None
    assert "sk-secret" not in str(worker_saw(gate)[0].headers)


async def test_what_is_the_clients_own_stays_here_and_the_query_goes_along(gate: Front) -> None:
    gate.worker.headers = {"Authorization": "Bearer worker-key"}
    headers = {"Authorization": "Bearer client-key", "Cookie": "a=b", "X-Mine": "1"}
    async with connect(gate, f"{WS}?a=b+c", headers=headers):
        pass
    seen = worker_saw(gate)[0]
    assert (seen.path, seen.header("Authorization"), seen.header("X-Mine")) == (
        "/ws?a=b+c",
        "Bearer worker-key",
        "1",
    )
    assert seen.header("Cookie") is None and seen.header("Origin") is None


async def test_the_answer_says_who_it_comes_from(gate: Front) -> None:
    async with connect(gate) as socket:
        assert socket._response.headers["x-roost-model"] == MODEL


async def test_a_close_reaches_the_other_side_with_its_code_and_reason(gate: Front) -> None:
    async with connect(gate) as socket:
        await socket.close(code=4002, message=b"enough")
    await until(lambda: worker_saw(gate)[0].close_code == 4002)
    async with connect(gate) as socket:
        await socket.send_json(order(close=[4001, "no more"]))
        message = await socket.receive()
        assert (message.type, socket.close_code, message.extra) == (WSMsgType.CLOSE, 4001, "no more")
    await over(gate)


async def test_pings_and_pongs_pass_in_both_directions(gate: Front) -> None:
    async with connect(gate, autoping=False) as socket:
        await socket.ping(b"one")
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.PONG, b"one")
        await socket.send_json(order(pings=True))
        assert (await socket.receive()).data == "1 pings"
        await socket.send_json(order(ping="two"))
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.PING, b"two")
        await socket.pong(b"three")
        assert (await socket.receive()).data == "pong three"


async def test_a_path_without_a_websocket_is_an_error_and_so_is_half_a_handshake(gate: Front) -> None:
    assert await refused(gate, f"/upstream/{MODEL}/health") == 400
    assert await refused(gate, f"/upstream/{MODEL}/nothing") == 400
    assert await refused(gate, "/upstream/nobody/ws") == 404
    half = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    async with gate.session.get(gate.url + WS, headers=half) as response:
        assert response.status == 400 and "Sec-WebSocket-Key" in await response.text()
    await over(gate)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
    ids=str,
)
async def test_another_sites_page_gets_no_websocket_and_the_worker_never_hears_of_it(
    gate: Front, headers: dict[str, str]
) -> None:
    assert await refused(gate, headers=headers) == 403
    assert not worker_saw(gate) and not gate.pool.tickets


async def test_a_listed_origin_gets_one(short_path: Path) -> None:
    settings = gateway_settings(allowed_origins=("https://mine.example",))
    headers = {"Origin": "https://mine.example"}
    async with front(short_path, settings=settings) as gate, connect(gate, headers=headers) as socket:
        await socket.send_str("hello")
        assert (await socket.receive()).data == "hello"


async def test_it_needs_the_key_that_all_of_upstream_needs(gate: Front) -> None:
    gate.keys.owners = {"user": Consumer("1", "a", admin=False), "admin": Consumer("2", "b", admin=True)}
    assert await refused(gate) == 401
    assert await refused(gate, headers={"Authorization": "Bearer user"}) == 403
    assert not worker_saw(gate)
    async with connect(gate, headers={"Authorization": "Bearer admin"}) as socket:
        await socket.send_str("hello")
        assert (await socket.receive()).data == "hello"


async def test_a_message_over_the_limit_ends_it_with_1009_whoever_sends_it(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(max_body_bytes=64 * 1024)) as gate:
        async with connect(gate) as socket:
            await socket.send_bytes(bytes(64 * 1024 + 1))
            await socket.receive()
            assert socket.close_code == 1009
        async with connect(gate) as socket:
            await socket.send_json(order(flood=1))
            await socket.receive()
            assert socket.close_code == 1009
        await over(gate)


async def test_a_client_that_vanishes_frees_its_place_and_the_worker_hears_of_it(gate: Front) -> None:
    socket = await connect(gate)
    await until(lambda: gate.worker.running == 1)
    socket._response.connection.transport.abort()
    await over(gate)
    assert worker_saw(gate)[0].close_code == 1001
    assert (await gate.row()).status == 499


async def test_a_worker_that_vanishes_ends_it_with_1011_and_is_told_in_the_row(gate: Front) -> None:
    gate.worker.why_lost = "was killed by SIGKILL"
    async with connect(gate) as socket:
        await socket.send_json(order(abort=True))
        message = await socket.receive()
        assert (message.data, "was killed by SIGKILL" in message.extra) == (1011, True)
    row = await gate.row()
    assert (row.status, row.code, row.cause) == (502, "upstream_disconnected", "was killed by SIGKILL")
    await over(gate)


async def test_one_that_idles_is_closed_and_pings_do_not_keep_it(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(websocket_idle_s=0.5)) as gate:
        async with connect(gate, heartbeat=0.1) as socket:
            message = await asyncio.wait_for(socket.receive(), 5)
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
            assert "websocket_idle_s" in message.extra
        await over(gate)


async def test_a_client_that_takes_nothing_holds_the_worker_up_and_is_dropped(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(write_deadline_s=0.5)) as gate:
        socket = await connect(gate)
        transport = socket._response.connection.transport
        transport.pause_reading()
        await socket.send_json(order(flood=200))
        await over(gate)
        row = await gate.row()
        assert "took no byte" in (row.cause or "") and row.bytes_out < 50 * 2**20
        transport.abort()


async def test_one_whose_worker_must_go_is_closed_once_it_is_quiet(gate: Front) -> None:
    async with connect(gate) as socket:
        await socket.send_str("hello")
        await socket.receive()
        gate.worker.state = "draining"
        message = await asyncio.wait_for(socket.receive(), 5)
        assert (message.data, message.extra) == (1001, "its model is being unloaded, restarted or replaced")
    await over(gate)


async def test_one_that_is_never_quiet_gets_the_time_of_a_drain(short_path: Path) -> None:
    async with front(short_path, settings=Settings(drain_s=1.0)) as gate, connect(gate) as socket:
        gate.worker.state = "draining"
        async with asyncio.timeout(10):
            while True:
                await socket.send_str("more")
                message = await socket.receive()
                if message.type is WSMsgType.CLOSE:
                    break
                # Another turn of the loop: it talks as fast as it can, and others run.
                await asyncio.sleep(0)
        assert message.data == 1001


# Over a real pool.


@asynccontextmanager
async def pooled(folder: Path, **settings: Any) -> AsyncIterator[tuple[Supervisor, str, aiohttp.ClientSession]]:
    value = Settings.model_validate({"rotation": {"policy": "always", "min_residency_s": 0}, **settings})
    world = stand_in_world(folder, StandInEngine(), ("a", "b"), lambda: value)
    pool = Supervisor(world)
    state = State(value, RegistryState(Registry(roles={"default": "a"})))
    deps = gateway_deps(pool, (declared_spec("a"), declared_spec("b")), state, MemoryActivity(), FakeKeys())
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        group.create_task(pool.run(started))
        await started.wait()
        try:
            async with listening(deps, value) as url, aiohttp.ClientSession() as session:
                yield pool, url, session
        finally:
            await pool.close(1.0)


def view(pool: Supervisor, model: str) -> Any:
    return next(found for found in pool.views() if found.model_id == model)


async def test_a_quiet_websocket_holds_up_no_swap(short_path: Path) -> None:
    async with (
        pooled(short_path, queue={"max_wait_s": 0.2}) as (pool, url, session),
        session.ws_connect(f"{url}/upstream/a/ws") as socket,
    ):
        await socket.send_str("hello")
        assert (await socket.receive()).data == "hello"
        ticket = pool.enter("b", Entry("b"))
        async with asyncio.timeout(10):
            await ticket.worker()
        assert (await socket.receive()).data == 1001
        ticket.leave()


async def test_unloading_ends_it_long_before_the_longest_drain(short_path: Path) -> None:
    async with (
        pooled(short_path, drain_s=60) as (pool, url, session),
        session.ws_connect(f"{url}/upstream/a/ws") as socket,
    ):
        async with asyncio.timeout(10):
            await asyncio.gather(pool.unload("a"), socket.receive())
        assert socket.close_code == 1001 and view(pool, "a").state == "stopped"


async def test_its_silence_is_no_wedge_and_hides_none(short_path: Path) -> None:
    async with (
        pooled(short_path, engine={"stall_s": 0.5}) as (pool, url, session),
        session.ws_connect(f"{url}/upstream/a/ws") as socket,
    ):
        pid = view(pool, "a").pid
        body = {"model": "a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        # A stream that is silent for so long is looked at for half its deadline, and then its worker is killed.
        ends_at = asyncio.get_running_loop().time() + 4 * 0.5
        await until(lambda: asyncio.get_running_loop().time() > ends_at)
        await socket.send_str("still there")
        assert (await socket.receive()).data == "still there"
        assert view(pool, "a").pid == pid
        told = {"x_stand_in": {"tokens": 1000, "token_delay_s": 0.05}}
        async with session.post(f"{url}/v1/chat/completions", json=body | told) as response:
            await response.content.readany()
            os.kill(pid, signal.SIGSTOP)
            assert b"upstream_stalled" in await response.read()
        await until(lambda: not process_lives(pid))
        assert (await asyncio.wait_for(socket.receive(), 5)).data == 1011

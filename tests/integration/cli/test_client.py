"""The client against a real socket: what is asked, what is read, what each failure becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web

from roost.client import DaemonClient, Delta, NoDaemon, RoostClientError
from roost.config.paths import Paths
from tests.integration.cli.control import ControlDaemon, answers, refusal, says, streams


def client_of(home: Path) -> DaemonClient:
    return DaemonClient(Paths.from_environment({"ROOST_HOME": str(home)}).control_socket)


async def reply(home: Path, **options: int) -> list[Delta]:
    async with client_of(home) as client:
        return [delta async for delta in client.chat("default", [{"role": "user", "content": "hi"}], **options)]


async def test_no_socket_means_no_daemon(home: Path) -> None:
    async with client_of(home) as client:
        with pytest.raises(NoDaemon, match='start it with "roost up"'):
            await client.status()


async def test_a_socket_that_nobody_holds_means_no_daemon(home: Path) -> None:
    import socket

    path = Paths.from_environment({"ROOST_HOME": str(home)}).control_socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with client_of(home) as client:
        with pytest.raises(NoDaemon):
            await client.status()


async def test_the_status_is_read_as_it_was_sent(home: Path, daemon: ControlDaemon) -> None:
    async with client_of(home) as client:
        assert await client.status() == daemon.report


async def test_an_answer_of_another_version_is_named_as_that(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["GET", "/roost/v1/status"] = answers({"version": "9"})
    async with client_of(home) as client:
        with pytest.raises(RoostClientError, match="another version"):
            await client.status()


@pytest.mark.parametrize("model", ["org/repo:Q4_K_M", "base+a b", "ümlaut?x=1#y"])
async def test_any_id_arrives_as_it_is(home: Path, daemon: ControlDaemon, model: str) -> None:
    seen = []

    async def load(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"model": model, "state": "ready"})

    daemon.routes["POST", f"/roost/v1/models/{model}/load"] = load
    async with client_of(home) as client:
        assert (await client.load(model)).model == model
    assert seen == [f"/roost/v1/models/{model}/load"]


async def test_a_refusal_is_the_daemons_own_sentence(home: Path, daemon: ControlDaemon) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return refusal(503, "insufficient_memory", "cannot load X: needs 41.2 GB")

    daemon.routes["POST", "/roost/v1/models/X/load"] = refuse
    async with client_of(home) as client:
        with pytest.raises(RoostClientError, match="cannot load X") as caught:
            await client.load("X")
    assert (caught.value.received_status, caught.value.received_code) == (503, "insufficient_memory")


async def test_an_error_without_our_shape_does_not_spill_its_body(home: Path, daemon: ControlDaemon) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500, text="<html>secret</html>")

    daemon.routes["GET", "/roost/v1/status"] = broken
    async with client_of(home) as client:
        with pytest.raises(RoostClientError) as caught:
            await client.status()
    assert "secret" not in caught.value.message


async def test_a_role_is_put_with_its_model(home: Path, daemon: ControlDaemon) -> None:
    entry = daemon.report.roles[0]
    daemon.routes["PUT", "/roost/v1/roles/coding"] = answers(entry.model_dump())
    async with client_of(home) as client:
        assert await client.put_role("coding", "m") == entry
    assert daemon.seen == [("PUT", "/roost/v1/roles/coding", {"model": "m"})]


async def test_a_restart_names_one_worker_or_all(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["POST", "/roost/v1/workers/restart"] = answers({"model": "*", "state": "ready"})
    daemon.routes["POST", "/roost/v1/workers/restart/org/m"] = answers({"model": "org/m", "state": "ready"})
    async with client_of(home) as client:
        assert (await client.restart()).model == "*"
        assert (await client.restart("org/m")).model == "org/m"
    assert [path for _, path, _ in daemon.seen] == ["/roost/v1/workers/restart", "/roost/v1/workers/restart/org/m"]


async def test_health_tells_its_status_also_when_it_is_not_well(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["GET", "/health"] = answers({"status": "degraded"}, 503)
    async with client_of(home) as client:
        assert await client.health() == {"status": "degraded", "http_status": 503}


async def test_a_reply_arrives_in_pieces_and_says_why_it_ended(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["POST", "/v1/chat/completions"] = says("2+2", " is 4.", finish="length")
    assert await reply(home, max_tokens=5) == [Delta("2+2"), Delta(" is 4."), Delta(finish="length")]
    _, _, body = daemon.seen[0]
    assert body == {
        "model": "default",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "max_tokens": 5,
    }


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_thinking_is_kept_apart_from_the_answer(home: Path, daemon: ControlDaemon, name: str) -> None:
    daemon.routes["POST", "/v1/chat/completions"] = streams(json.dumps({"choices": [{"delta": {name: "hm"}}]}))
    assert await reply(home) == [Delta(reasoning="hm")]


async def test_a_stream_that_just_ends_is_an_error(home: Path, daemon: ControlDaemon) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "half"}}]})
    daemon.routes["POST", "/v1/chat/completions"] = streams(event, ends=False)
    with pytest.raises(RoostClientError, match="broke off before its end"):
        await reply(home)


async def test_an_error_frame_in_a_stream_is_the_daemons_sentence(home: Path, daemon: ControlDaemon) -> None:
    frame = json.dumps({"error": {"message": "the worker died", "code": "upstream_disconnected"}})
    daemon.routes["POST", "/v1/chat/completions"] = streams(frame, ends=False)
    with pytest.raises(RoostClientError, match="the worker died") as caught:
        await reply(home)
    assert caught.value.received_code == "upstream_disconnected"


async def test_a_connection_cut_in_a_stream_is_an_error(home: Path, daemon: ControlDaemon) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    daemon.routes["POST", "/v1/chat/completions"] = cut
    with pytest.raises(RoostClientError, match="broke off"):
        await reply(home)


async def test_a_workers_log_comes_as_bytes(home: Path, daemon: ControlDaemon) -> None:
    async def log(request: web.Request) -> web.Response:
        assert request.query["follow"] == "1"
        return web.Response(body=b"line \xff\n")

    daemon.routes["GET", "/roost/v1/logs/w1"] = log
    async with client_of(home) as client:
        assert b"".join([piece async for piece in client.worker_log("w1", follow=True)]) == b"line \xff\n"

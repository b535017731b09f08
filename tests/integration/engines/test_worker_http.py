"""The session of one worker on real sockets."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from roost.engines.http import MOST_INTERIM, ask, base_url, close_session, generate_one, is_versioned, worker_http
from roost.engines.types import TcpEndpoint, UnixEndpoint, UrlEndpoint
from roost.engines.wire import Posted
from roost.errors import UpstreamCrashed, UpstreamStalled
from tests.helpers import short_folder


async def reply(request: web.Request) -> web.StreamResponse:
    """Tells what came, redirects, or answers with the status that the path names."""
    if request.path == "/redirect":
        raise web.HTTPFound(request.query["to"])
    if request.path == "/packed":
        return web.Response(body=gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})
    if request.path == "/interim":
        await send_interim(request, int(request.query["most"]))
    if request.path.startswith("/v1/"):
        status = int(request.headers.get("X-Status", "200"))
        return web.json_response({"error": "busy"} if status != 200 else {"choices": []}, status=status)
    return web.json_response(dict(request.headers))


async def send_interim(request: web.Request, most: int) -> None:
    """So many informational answers; below 0 without an end."""
    sent = 0
    while sent != most:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has left")
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        sent += 1
        await asyncio.sleep(0)


async def begin(request: web.Request) -> web.StreamResponse:
    """The first half of an answer, and then nothing."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first half")
    await asyncio.Event().wait()
    return response


def application() -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/begin", begin)
    app.router.add_route("*", "/{path:.*}", reply)
    return app


@pytest.mark.parametrize("wire", [False, True], ids=["session", "wire"])
async def test_closing_a_session_ends_what_is_being_read_over_it(wire: bool) -> None:
    async with TestServer(application(), handler_cancellation=True) as server:
        http = worker_http(TcpEndpoint("127.0.0.1", server.port or 0))
        response: aiohttp.ClientResponse | Posted
        if wire:
            response = await http.wire.post("/begin", b"{}", keep=True)
        else:
            response = await http.session.get(f"{http.base_url}/begin")
        assert await response.content.readany() == b"first half"
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_end_of(response))
            await asyncio.sleep(0)
            await close_session(http.session)
            async with asyncio.timeout(5):
                assert isinstance(await reading, aiohttp.ClientError)
        response.close()


async def _end_of(response: aiohttp.ClientResponse | Posted) -> Exception | None:
    try:
        await response.content.readany()
    except aiohttp.ClientError as error:
        return error
    return None


async def test_the_key_goes_along_and_nothing_asks_for_compression() -> None:
    async with TestServer(application()) as server:
        http = worker_http(TcpEndpoint("127.0.0.1", server.port or 0, key="k1"))
        async with http.session:
            headers = (await ask(http, "GET", "/")).json()
    assert headers["Authorization"] == "Bearer k1"
    assert "Accept-Encoding" not in headers
    assert "User-Agent" not in headers


async def test_packed_bytes_stay_packed() -> None:
    async with TestServer(application()) as server:
        http = worker_http(TcpEndpoint("127.0.0.1", server.port or 0))
        async with http.session:
            assert gzip.decompress((await ask(http, "GET", "/packed")).body) == b"text"


async def test_a_redirect_is_an_answer_and_another_origin_cannot_be_reached() -> None:
    async with TestServer(application()) as server, TestServer(application()) as other:
        http = worker_http(UrlEndpoint(str(server.make_url("/"))))
        async with http.session:
            answer = await ask(http, "GET", f"/redirect?to={other.make_url('/')}")
            assert answer.status == 302
            with pytest.raises(aiohttp.ClientConnectionError, match="reaches"):
                await http.session.get(f"{http.base_url}/redirect?to={other.make_url('/')}")


async def test_a_unix_session_reaches_its_socket_whatever_the_host_says() -> None:
    with short_folder() as folder:
        runner = web.AppRunner(application())
        await runner.setup()
        await web.UnixSite(runner, str(folder / "w.sock")).start()
        http = worker_http(UnixEndpoint(folder / "w.sock"))
        async with http.session:
            assert (await ask(http, "POST", "/", {"a": 1})).json()["Content-Type"] == "application/json"
        await runner.cleanup()


async def test_interim_answers_are_passed_over_but_not_for_ever() -> None:
    async with TestServer(application()) as server:
        http = worker_http(TcpEndpoint("127.0.0.1", server.port or 0))
        async with http.session, asyncio.timeout(20):
            for _ in range(2):  # on the same connection: the count begins anew
                assert (await ask(http, "GET", f"/interim?most={MOST_INTERIM}")).status == 200
            with pytest.raises(aiohttp.ClientResponseError, match="without an end"):
                await ask(http, "GET", "/interim?most=-1")


@pytest.mark.parametrize(("status", "error"), [(503, UpstreamStalled), (500, UpstreamCrashed), (200, UpstreamCrashed)])
async def test_only_a_real_token_counts_as_life(status: int, error: type[Exception]) -> None:
    async with TestServer(application()) as server:
        http = worker_http(TcpEndpoint("127.0.0.1", server.port or 0))
        http.session.headers["X-Status"] = str(status)
        async with http.session:
            with pytest.raises(error):
                await generate_one(http, "m", frozenset({"chat"}))


@pytest.mark.parametrize(
    ("url", "base", "versioned"),
    [
        ("http://h/v1", "http://h", True),
        ("http://h/v1/", "http://h", True),
        ("http://h/api/v4", "http://h/api/v4", False),
        ("http://h", "http://h", False),
    ],
)
def test_an_addresss_own_v1_is_left_out_and_remembered(url: str, base: str, versioned: bool) -> None:
    endpoint = UrlEndpoint(url)
    assert (base_url(endpoint), is_versioned(endpoint)) == (base, versioned)
    assert not is_versioned(TcpEndpoint("127.0.0.1", 1))

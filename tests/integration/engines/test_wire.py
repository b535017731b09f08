"""JSON posted to a worker, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from roost.engines.http import MOST_INTERIM, worker_http
from roost.engines.types import TcpEndpoint, UnixEndpoint, UrlEndpoint, WorkerHttp
from roost.testing.wait import until
from tests.helpers import short_folder

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Answers each request of a connection with the next of `answers`; None: it closes instead."""

    answers: list[bytes | None]
    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    gone: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(line[15:]) for line in head.splitlines() if line.startswith("Content-Length:"))
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                if (answer := self.answers.pop(0)) is None:
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None, key: str | None = None) -> AsyncIterator[tuple[Server, WorkerHttp]]:
    server = Server(list(answers))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        http = worker_http(TcpEndpoint("127.0.0.1", server.port, key=key))
        async with http.session, asyncio.timeout(30):
            yield server, http


async def test_a_body_arrives_as_it_is_with_just_the_headers_that_it_needs() -> None:
    async with serving(OK, key="k1") as (server, http):
        answer = await http.wire.post("/v1/chat/completions", b'{"a": 1}', keep=True)
        assert (answer.status, answer.content_length, await answer.content.read()) == (200, 2, b"{}")
        assert server.bodies == [b'{"a": 1}']
        request_line, *headers = server.heads[0].rstrip().split("\r\n")
        assert request_line == "POST /v1/chat/completions HTTP/1.1"
        assert sorted(headers) == [
            "Accept-Encoding: identity",
            "Accept: */*",
            "Authorization: Bearer k1",
            "Content-Length: 8",
            "Content-Type: application/json",
            f"Host: 127.0.0.1:{server.port}",
        ]


async def test_a_connection_is_kept_when_it_was_read_to_its_end_and_only_then() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"
    async with serving(OK, OK, long, OK) as (server, http):
        for _ in range(2):
            answer = await http.wire.post("/v1/x", b"{}", keep=True)
            assert await answer.content.read() == b"{}"
        assert server.connections == 1
        answer = await http.wire.post("/v1/x", b"{}", keep=True)
        assert await answer.content.readany() == b"{}"
        answer.release()
        assert await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read() == b"{}"
        assert server.connections == 2
        await until(lambda: server.gone == 1)


async def test_a_request_whose_connection_is_of_no_more_use_says_so() -> None:
    async with serving(OK) as (server, http):
        await (await http.wire.post("/v1/x", b"{}", keep=False)).content.read()
        assert "Connection: close" in server.heads[0]


async def test_a_worker_that_closed_its_idle_connection_gets_the_next_request_on_another() -> None:
    async with serving(OK + b"", None, OK) as (server, http):
        await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.wire.post("/v1/x", b"{}", keep=True)
        assert await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read() == b"{}"
        assert server.connections == 2


async def test_a_cancelled_request_breaks_the_connection() -> None:
    async with serving(b"") as (server, http):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(http.wire.post("/v1/x", b"{}", keep=True))
            await until(lambda: len(server.bodies) == 1)
            task.cancel()
        await until(lambda: server.gone == 1)


async def test_closing_an_answer_that_goes_on_breaks_the_connection() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n") as (server, http):
        answer = await http.wire.post("/v1/x", b"{}", keep=True)
        assert await answer.content.readany() == b"{}"
        answer.close()
        await until(lambda: server.gone == 1)


async def test_a_long_body_arrives_whole() -> None:
    body = b"x" * (8 * 2**20)
    async with serving(OK) as (server, http):
        assert await (await http.wire.post("/v1/x", body, keep=True)).content.read() == b"{}"
        assert server.bodies == [body]


async def test_what_is_no_http_is_told_apart_from_a_broken_connection() -> None:
    async with serving(b"nonsense\r\n\r\n", None, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n") as (_, http):
        with pytest.raises(aiohttp.ClientResponseError):
            await http.wire.post("/v1/x", b"{}", keep=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.wire.post("/v1/x", b"{}", keep=True)
        with pytest.raises(aiohttp.ClientResponseError):
            await http.wire.post("/v1/x", b"{}", keep=True)


async def test_a_body_that_is_cut_is_an_error_and_not_a_shorter_body() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", None) as (server, http):
        answer = await http.wire.post("/v1/x", b"{}", keep=True)
        assert await answer.content.readany() == b"{}"
        await until(lambda: server.connections == 1)
        transport = answer._connection.transport
        assert transport is not None
        transport.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")  # upon which the server closes
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
        answer.close()


async def test_interim_answers_are_passed_over_but_not_for_ever() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with serving(interim * MOST_INTERIM + OK, interim * (MOST_INTERIM + 1)) as (_, http):
        await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read()
        with pytest.raises(aiohttp.ClientResponseError, match="without an end"):
            await http.wire.post("/v1/x", b"{}", keep=True)


async def test_a_prefix_and_credentials_in_an_address_are_used() -> None:
    async with serving(OK) as (server, _):
        http = worker_http(UrlEndpoint(f"http://me:secret@127.0.0.1:{server.port}/api/v1/"))
        async with http.session:
            assert await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read() == b"{}"
        assert server.heads[0].startswith("POST /api/v1/x HTTP/1.1\r\n")
        assert "Authorization: Basic bWU6c2VjcmV0" in server.heads[0]


async def test_a_unix_socket_is_reached_by_its_path() -> None:
    server = Server([OK])
    with short_folder() as folder:
        async with await asyncio.start_unix_server(server.serve, folder / "w.sock"):
            http = worker_http(UnixEndpoint(folder / "w.sock"))
            async with http.session, asyncio.timeout(30):
                assert await (await http.wire.post("/v1/x", b"{}", keep=True)).content.read() == b"{}"
                assert "Host: localhost" in server.heads[0]


async def test_a_key_that_would_smuggle_a_header_is_never_sent() -> None:
    async with serving(OK, key="k\r\nX-Evil: 1") as (server, http):
        with pytest.raises((aiohttp.ClientError, ValueError)):
            await http.wire.post("/v1/x", b"{}", keep=True)
        assert not server.heads


async def test_nobody_there_and_a_closed_session_are_client_errors() -> None:
    with short_folder() as folder:
        http = worker_http(UnixEndpoint(folder / "none.sock"))
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.wire.post("/v1/x", b"{}", keep=True)
        await http.session.close()
        with pytest.raises(aiohttp.ClientConnectionError, match="closed"):
            await http.wire.post("/v1/x", b"{}", keep=True)

"""What happens on a connection before there is a request: sizes, clocks, malformed bytes, too many of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roost.config.settings import GatewaySettings
from roost.gateway.protocol import GatewayProtocol
from roost.testing.wait import until
from tests.integration.gateway.front import Front, changed, front, gateway_settings

CHAT = "/v1/chat/completions"


async def test_a_large_body_is_refused_by_its_declared_length(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(max_body_bytes=2048)) as gate:
        answer = await _raw(
            gate, f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 67108864\r\nExpect: 100-continue\r\n\r\n"
        )  # fmt: skip
        assert answer.startswith(b"HTTP/1.1 413")
        assert b'"request_too_large"' in answer


async def test_a_chunked_body_is_cut_at_the_limit(short_path: Path) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 1024

    async with front(short_path, settings=gateway_settings(max_body_bytes=2048)) as gate:
        headers = {"Content-Type": "application/json"}
        async with gate.session.post(f"{gate.url}{CHAT}", data=endless(), headers=headers) as response:
            assert response.status == 413


async def test_a_body_that_stands_still_is_408(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(body_idle_s=0.05)) as gate:
        answer = await _raw(
            gate, f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{"
        )  # fmt: skip
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"request_timeout"' in answer


async def test_headers_that_never_end_are_408(gate: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayProtocol, "headers_deadline_s", 0.05)
    answer = await _raw(gate, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in answer


@pytest.mark.parametrize("request_line", ["GET / HTTP/9.9", "NONSENSE", "GET /\x01 HTTP/1.1"])
async def test_bytes_that_are_no_http_get_our_error_object(gate: Front, request_line: str) -> None:
    answer = await _raw(gate, f"{request_line}\r\nHost: x\r\n\r\n")
    assert b" 400 Bad Request" in answer[:24]
    assert b'"invalid_request"' in answer
    assert b"x-request-id" in answer.lower()


async def test_an_absolute_target_is_refused(gate: Front) -> None:
    answer = await _raw(gate, f"GET http://evil.example/livez HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_connection_over_the_limit_is_answered_503_and_closed(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(max_connections=16)) as gate, AsyncExitStack() as stack:
        idle = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(16)]
        for _, writer in idle:
            stack.callback(writer.close)
        request = f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n\r\n"
        answer = await _raw(gate, request)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert b"Connection: close" in head and b"Retry-After: 1" in head
        assert json.loads(body)["error"]["code"] == "too_many_connections"
        idle[0][1].close()
        await until(lambda: idle[0][1].transport.is_closing())
        await _until_served(gate, request)


async def _until_served(gate: Front, request: str) -> None:
    async with asyncio.timeout(5):
        while not (await _raw(gate, request)).startswith(b"HTTP/1.1 200"):
            pass


async def test_a_silent_connection_over_the_limit_is_closed(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(max_connections=16)) as gate, AsyncExitStack() as stack:
        for _ in range(17):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            stack.callback(writer.close)
        async with asyncio.timeout(5):
            assert await reader.read() == b""


async def test_the_control_socket_takes_orders_whatever_the_limit(short_path: Path) -> None:
    async with front(short_path) as gate, AsyncExitStack() as stack:
        changed(gate.state, gateway=GatewaySettings.model_construct(**vars(GatewaySettings()) | {"max_connections": 0}))
        refused = await _raw(gate, f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 503")
        connector = aiohttp.UnixConnector(str(gate.control_socket))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        async with session.get("http://roost/livez") as response:
            assert response.status == 200


async def _raw(gate: Front, text: str) -> bytes:
    """What comes back for these bytes within a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    try:
        writer.write(text.encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            return head + await reader.readexactly(int(length.partition(b":")[2]))
    finally:
        writer.close()
        await writer.wait_closed()

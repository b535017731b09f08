"""The stand-in's websocket: it repeats what it gets, or does what a text message says."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

from roost.testing.engine_generate import STATE
from roost.testing.engine_record import SeenRequest

#: Subprotocols that it speaks.
PROTOCOLS = ("echo.v2", "echo.v1")
_MOST_BYTES = 64 * 2**20


async def echo(request: web.Request) -> web.StreamResponse:
    """Text `{"x_stand_in": {…}}` is an order: `close` with [code, reason], `abort`, `ping`, `pings` (a count of what
    came), `flood` (messages of a megabyte), `deaf` (reads nothing for so many seconds); all else is repeated."""
    recorder = request.app[STATE].recorder
    seen = recorder.begin(request.method, request.path_qs, list(request.headers.items()), b"")
    socket = web.WebSocketResponse(protocols=PROTOCOLS, autoping=False, max_msg_size=_MOST_BYTES)
    try:
        await socket.prepare(request)
        pings = 0
        async for message in socket:
            if message.type is WSMsgType.PING:
                pings += 1
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                await socket.send_str(f"pong {message.data.decode()}")
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif (order := _order(message.data)) is None:
                await socket.send_str(message.data)
            else:
                await _obey(request, socket, order, pings)
        return socket
    finally:
        _note(seen, socket)
        recorder.end(seen)


def _order(text: str) -> dict[str, Any] | None:
    return json.loads(text)["x_stand_in"] if text.startswith('{"x_stand_in"') else None


async def _obey(request: web.Request, socket: web.WebSocketResponse, order: dict[str, Any], pings: int) -> None:
    match order:
        case {"close": [code, reason]}:
            await socket.close(code=code, message=reason.encode())
        case {"abort": True} if request.transport is not None:
            request.transport.abort()
        case {"ping": text}:
            await socket.ping(text.encode())
        case {"pings": True}:
            await socket.send_str(f"{pings} pings")
        case {"flood": count}:
            for _ in range(count):
                await socket.send_bytes(bytes(2**20))
        case {"deaf": seconds}:
            await asyncio.sleep(seconds)


def _note(seen: SeenRequest, socket: web.WebSocketResponse) -> None:
    seen.close_code = socket.close_code
    if socket.close_code in (None, 1006):
        seen.disconnected_at = time.time()

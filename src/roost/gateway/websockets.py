"""A websocket through `/upstream`: the messages of both directions, until one side ends it, it idles, or its worker is
wanted for something else. Messages pass as they came; only a compression is each side's own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http import WSMessageTextBytes

from roost.config.settings import Settings
from roost.errors import BadRequest, RoostError, ShuttingDown, UpstreamStalled
from roost.gateway.call import Call
from roost.gateway.job import BROKEN, worker_url
from roost.gateway.upstream_errors import lost, translate
from roost.workers.types import ReadyWorker, Ticket

#: A worker that generates answers a handshake between two steps, no later.
_HANDSHAKE_S = 30.0
#: What each side gets to confirm an end.
_CLOSE_S = 1.0
#: How often it is looked whether it idles, or must go.
_LOOK_S = 0.25
#: With a worker that must go, a connection that is quiet for so long is not in the middle of anything.
_QUIET_S = 1.0
#: OpenAI's browser clients send their key as a subprotocol; it is the client's, and no worker's business.
_KEY_PROTOCOL = "openai-insecure-api-key."
_LONGEST_REASON_BYTES = 123
_DATA = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})
_CONTROL = frozenset({WSMsgType.PING, WSMsgType.PONG})

_Client = web.WebSocketResponse[Literal[False]]
_Engine = aiohttp.ClientWebSocketResponse[Literal[False]]
_Message = aiohttp.WSMessage | WSMessageTextBytes
#: Codes that mean that no code came; they may not be sent.
_UNSAID = frozenset({0, 1005, 1006, 1015})


@dataclass(frozen=True)
class End:
    """What both sides are told. `blocked`: nothing can be told to the client, which takes no byte."""

    code: int
    reason: str = ""
    blocked: bool = False


def wants_websocket(request: web.BaseRequest) -> bool:
    """Whether this request asks for one. Raises BadRequest when it asks in a way that cannot be answered."""
    if request.method != "GET" or request.headers.get("Upgrade", "").strip().lower() != "websocket":
        return False
    if not web.WebSocketResponse(protocols=_offered(request)).can_prepare(request):
        raise BadRequest(
            "this is no websocket handshake: it needs Connection: Upgrade, Sec-WebSocket-Version: 13 "
            "and a Sec-WebSocket-Key of 16 bytes"
        )
    return True


def _offered(request: web.BaseRequest) -> list[str]:
    named = (name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(","))
    return [name for name in named if name and not name.startswith(_KEY_PROTOCOL)]


async def relay_websocket(
    call: Call, ticket: Ticket, worker: ReadyWorker, path: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The worker's handshake first, so that its refusal is an HTTP answer; then both directions to the end."""
    settings, exchange = call.gateway.deps.settings(), call.exchange
    engine = await _connect(call, ticket, worker, path, headers)
    try:
        client: _Client = web.WebSocketResponse(
            protocols=[engine.protocol] if engine.protocol else [],
            timeout=_CLOSE_S,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=settings.gateway.max_body_bytes,
            decode_text=False,
        )
        client.headers.update(exchange.headers())
        await client.prepare(call.request)
        exchange.stream, exchange.told_status = True, 101
        await _Relay(call, ticket, worker.model_id, client, engine, settings).run()
        return client
    finally:
        # On the way of a client that vanished, too; a worker that stays hears of it.
        await _closed(engine, End(WSCloseCode.GOING_AWAY, "the client left"))


async def _connect(call: Call, ticket: Ticket, worker: ReadyWorker, path: str, headers: Mapping[str, str]) -> _Engine:
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            return await worker.session.ws_connect(
                worker_url(worker.base_url, path),
                protocols=_offered(call.request),
                headers=headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                autoclose=False,
                autoping=False,
                max_msg_size=call.gateway.deps.settings().gateway.max_body_bytes,
                decode_text=False,
            )
    except aiohttp.WSServerHandshakeError as refusal:
        call.exchange.cause = f"the engine answered the handshake with {refusal.status}"
        # Any success but the one that was asked for means that there is no websocket at this path.
        status = refusal.status if refusal.status >= 400 else 404
        raise translate(status, b"", worker.model_id) from refusal
    except TimeoutError as late:
        raise UpstreamStalled(
            f"the engine of {worker.model_id} did not answer a websocket's handshake within {_HANDSHAKE_S:g} s"
        ) from late
    except BROKEN as broken:
        raise _lost(call, ticket, worker.model_id, started=False) from broken


def _lost(call: Call, ticket: Ticket, model_id: str, *, started: bool) -> RoostError:
    why = ticket.why_lost()
    call.exchange.cause = why or "the connection to the worker broke"
    return lost(why, call.gateway.deps.draining(), started, model_id)


class _Relay:
    """Two pumps and a watch; the first of them to finish says how it ends."""

    def __init__(
        self,
        call: Call,
        ticket: Ticket,
        model_id: str,
        client: _Client,
        engine: _Engine,
        settings: Settings,
    ) -> None:
        self._call, self._ticket, self._model_id = call, ticket, model_id
        self._client, self._engine = client, engine
        self._idle_s = settings.gateway.websocket_idle_s
        self._write_deadline_s = settings.gateway.write_deadline_s
        self._drain_s = settings.drain_s
        self._now = asyncio.get_running_loop().time
        self._last_message = self._now()

    async def run(self) -> None:
        """Returns when both sides know that it is over."""
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(part) for part in (self._to_engine(), self._to_client(), self._until_due())]
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                part.cancel()
        end = done.pop().result()
        self._call.exchange.cause = self._call.exchange.cause or end.reason or None
        self._call.exchange.told_all = True
        if end.blocked and self._call.request.transport is not None:
            self._call.request.transport.abort()
        async with asyncio.TaskGroup() as group:
            group.create_task(_closed(self._engine, end))
            group.create_task(_closed(self._client, end))

    async def _to_engine(self) -> End:
        exchange = self._call.exchange
        while True:
            message = await self._client.receive()
            if message.type in _DATA:
                exchange.bytes_in += len(message.data)
            elif message.type not in _CONTROL:
                return _ended(message) or End(WSCloseCode.GOING_AWAY, "the client left")
            if end := await self._pass_on(self._engine, message):
                return end

    async def _to_client(self) -> End:
        exchange = self._call.exchange
        while True:
            message = await self._engine.receive()
            if message.type in _DATA:
                exchange.first_byte()
                exchange.bytes_out += len(message.data)
            elif message.type not in _CONTROL:
                return _ended(message) or self._worker_lost()
            if end := await self._pass_on(self._client, message):
                return end

    async def _pass_on(self, side: _Client | _Engine, message: _Message) -> End | None:
        """A side that takes nothing holds up the other one, and is dropped when it does so for too long."""
        if message.type in _DATA:
            self._last_message = self._now()
        try:
            async with asyncio.timeout(self._write_deadline_s):
                await side.send_frame(message.data, message.type)
        except TimeoutError:
            blocked = side is self._client
            who = "the client" if blocked else "the worker"
            return End(WSCloseCode.GOING_AWAY, f"{who} took no byte for {self._write_deadline_s:g} s", blocked=blocked)
        except ConnectionError:
            # What it said before it went is still to be read: the other pump hears of the end.
            return None
        return None

    def _worker_lost(self) -> End:
        error = _lost(self._call, self._ticket, self._model_id, started=True)
        self._call.exchange.error = error
        planned = isinstance(error, ShuttingDown)
        return End(WSCloseCode.GOING_AWAY if planned else WSCloseCode.INTERNAL_ERROR, error.message)

    async def _until_due(self) -> End:
        """Pings are no messages: a page that is kept open must not hold a model for ever."""
        leaving_since: float | None = None
        while True:
            await asyncio.sleep(min(_LOOK_S, self._idle_s / 2))
            now = self._now()
            quiet_s = now - self._last_message
            if quiet_s >= self._idle_s:
                return End(WSCloseCode.GOING_AWAY, f"no message for {self._idle_s:g} s (gateway.websocket_idle_s)")
            if not self._ticket.must_go():
                leaving_since = None
                continue
            leaving_since = now if leaving_since is None else leaving_since
            if quiet_s >= _QUIET_S or now - leaving_since >= self._drain_s:
                return End(WSCloseCode.GOING_AWAY, "its model is being unloaded, restarted or replaced")


def _ended(message: _Message) -> End | None:
    """How a side said that it ends; None: it is gone without a word."""
    if message.type is WSMsgType.CLOSE:
        return End(WSCloseCode.OK if message.data in _UNSAID else message.data, str(message.extra or ""))
    if message.type is WSMsgType.ERROR and isinstance(message.data, aiohttp.WebSocketError):
        return End(message.data.code, "a message could not be relayed")
    return None


async def _closed(side: _Client | _Engine, end: End) -> None:
    """Tells one side, and waits no longer than a moment for its answer. Harmless when it is closed already."""
    reason = end.reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore").encode()
    try:
        async with asyncio.timeout(2 * _CLOSE_S):
            await side.close(code=end.code, message=reason)
    except (TimeoutError, ConnectionError):
        return

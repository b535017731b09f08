"""The client's end of a stream: begun by its first byte, heartbeats in silence, bounded memory, a write deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from roost.errors import RoostError
from roost.gateway.exchange import Exchange
from roost.gateway.replies import error_frame

#: Unsent bytes a stream may hold; then the engine is not read any more. aiohttp adds up to 64 KiB before it waits.
_MOST_UNSENT_BYTES = 192 * 2**10
#: From here on a write may wait, and its deadline is worth a timer.
_CROWDED_BYTES = 64 * 2**10
#: Waiting for a slow reader is told to the wedge watch this often.
_BLOCKED_BEAT_S = 1.0


class SlowReader(ConnectionResetError):
    """The client took no byte for `gateway.write_deadline_s`."""


def event_stream(headers: Mapping[str, str]) -> web.StreamResponse:
    """An SSE response that no proxy holds back."""
    return web.StreamResponse(
        headers={
            **headers,
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )


class ClientStream:
    """A response that is begun by whatever is written first."""

    def __init__(
        self, request: web.Request, exchange: Exchange, response: web.StreamResponse, write_deadline_s: float
    ) -> None:
        self._request = request
        self._exchange = exchange
        self._write_deadline_s = write_deadline_s
        self._loop = asyncio.get_running_loop()
        self._last_write = self._loop.time()
        self._watch_s = min(_BLOCKED_BEAT_S, write_deadline_s / 2)
        self._watch: asyncio.TimerHandle | None = None
        self._blocked = False
        self._dropped = False
        self.response = response
        #: Called while a slow reader keeps us waiting: the worker is not to blame for the silence.
        self.while_blocked: Callable[[], None] = lambda: None

    @property
    def begun(self) -> bool:
        """The 200 is out: errors are frames from now on."""
        return self.response.prepared

    async def write(self, data: bytes) -> None:
        """Send whole events. Raises SlowReader, ConnectionResetError."""
        if not self.begun:
            await self._begin()
        self._exchange.bytes_out += len(data)
        if self._unsent() + len(data) < _CROWDED_BYTES:
            await self.response.write(data)
        else:
            await self._write_crowded(data)
        self._last_write = self._loop.time()

    async def heartbeat_when_silent(self, heartbeat_s: float, comment: Callable[[], str], hush_s: float = 0.0) -> None:
        """Send an SSE comment after each `heartbeat_s` without a byte, the first one not before `hush_s`, until
        cancelled or the client is gone."""
        if hush_s > heartbeat_s:
            await asyncio.sleep(hush_s)
        while True:
            silent_s = self._loop.time() - self._last_write
            if silent_s < heartbeat_s or self._blocked:
                await asyncio.sleep(max(heartbeat_s - silent_s, _BLOCKED_BEAT_S if self._blocked else 0))
                continue
            try:
                await self.write(f": roost {comment()}\n\n".encode())
            except ConnectionError:
                return

    async def fail(self, error: RoostError) -> None:
        """The legal end of a stream that cannot go on: an error frame, no `[DONE]`, close."""
        self.response.force_close()
        await self.write(error_frame(error))
        await self.response.write_eof()

    def broken(self, error: RoostError) -> RoostError | ConnectionResetError:
        """What to raise for an answer that has no place for an error: the error itself while the status can tell it,
        else an aborted connection tells that what came is not all."""
        if not self.begun:
            return error
        self._exchange.error = error
        if self._request.transport is not None:
            self._request.transport.abort()
        return ConnectionResetError(error.message)

    async def end(self) -> None:
        """The body is complete."""
        await self.response.write_eof()

    async def _begin(self) -> None:
        transport = self._request.transport
        if transport is not None:
            # Reading goes on as soon as the client takes anything at all.
            transport.set_write_buffer_limits(high=_MOST_UNSENT_BYTES, low=_MOST_UNSENT_BYTES - 4096)
        await self.response.prepare(self._request)

    async def _write_crowded(self, data: bytes) -> None:
        """The transport takes the bytes at once; what may last is the wait until it holds fewer again.

        That wait is never cancelled by a timeout: aiohttp's writers share one future for it. A watch drops the
        connection instead, which ends the wait.
        """
        self._blocked = True
        self._watch = self._loop.call_later(self._watch_s, self._look, self._unsent(), self._loop.time())
        try:
            await self.response.write(data)
            await self._request.writer.drain()
        finally:
            self._watch.cancel()
            self._blocked = False
        if self._dropped:
            raise SlowReader(self._exchange.cause)

    def _look(self, unsent: int, since: float) -> None:
        """Once in a while, as long as the reader keeps us waiting."""
        self.while_blocked()
        now, now_unsent = self._loop.time(), self._unsent()
        if now_unsent < unsent:
            unsent, since = now_unsent, now
        if now - since < self._write_deadline_s:
            self._watch = self._loop.call_later(self._watch_s, self._look, max(unsent, now_unsent), since)
            return
        self._dropped = True
        # Kept here: the lost connection may cancel the handler before it sees an exception.
        self._exchange.cause = f"the client took no byte for {self._write_deadline_s:g} s"
        if self._request.transport is not None:
            self._request.transport.abort()

    def _unsent(self) -> int:
        transport = self._request.transport
        return transport.get_write_buffer_size() if transport is not None else 0


async def send_in_pieces(
    request: web.Request, exchange: Exchange, out: ClientStream, body: bytes
) -> web.StreamResponse:
    """A body that is there already, to a reader that may be slow: as much is copied as it takes."""
    out.response.content_length = len(body)
    for at in range(0, len(body), _CROWDED_BYTES):
        exchange.first_byte()
        await out.write(body[at : at + _CROWDED_BYTES])
    exchange.told_all = True
    await out.end()
    return out.response

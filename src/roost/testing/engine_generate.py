"""How the stand-in engine answers one generating request: in time, in pieces, and as badly as it was told to."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from aiohttp import web

from roost.testing.engine_memory import Larder
from roost.testing.engine_options import Behaviour, EngineOptions
from roost.testing.engine_record import Recorder, SeenRequest
from roost.testing.engine_reply import Reply, closing_chunks, frame, opening_chunks, token_chunk, whole_answer


@dataclass
class EngineState:
    """What the routes share; only they and the load write it."""

    options: EngineOptions
    recorder: Recorder = field(default_factory=Recorder)
    #: Set by the end of the load.
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    #: Monotonic, of the machine's one clock; 0: not yet.
    loaded_at_ns: int = 0
    #: Set for a moment by `POST /stand-in/release`.
    released: asyncio.Event = field(default_factory=asyncio.Event)
    #: Ends the process like a crash; in-process there is none to end, and the connection is aborted instead.
    die: Callable[[], None] | None = None
    #: For all requests from now on; set by `POST /stand-in/behave`.
    behave: Behaviour = field(default_factory=Behaviour)
    slots: asyncio.Semaphore | None = None
    grandchild_pid: int | None = None
    larder: Larder = field(init=False)

    def __post_init__(self) -> None:
        self.larder = Larder(self.options.appetite)

    def end_load(self) -> None:
        if not self.loaded.is_set():
            self.larder.end_load()
            self.loaded_at_ns = time.monotonic_ns()
            self.loaded.set()


STATE = web.AppKey("state", EngineState)


async def answer(
    request: web.Request, state: EngineState, seen: SeenRequest, reply: Reply, body: dict[str, Any], told: Behaviour
) -> web.StreamResponse:
    """Generate and send the reply, misbehaving where told to."""
    if told.status is not None:
        return web.Response(
            status=told.status, text=told.body or "", content_type=told.content_type, headers=dict(told.headers)
        )
    out = AnswerWriter(request, told, stream=bool(body.get("stream")) or told.raw is not None)
    generation = Generation(request, state, seen, told)
    await generation.before_first_token()
    await _interim(request, told.interim)
    if told.raw is not None:
        await out.send(told.raw.encode("utf-8", "surrogateescape"))
        return await out.close()
    if told.body_bytes is not None:
        return await _huge(out, told.body_bytes)
    if body.get("stream"):
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return await _stream(out, generation, reply, include_usage)
    for _ in reply.tokens:
        await generation.next_token()
    await generation.after_token()
    await out.send(json.dumps(whole_answer(reply), ensure_ascii=False).encode())
    return await out.close()


async def _stream(out: AnswerWriter, generation: Generation, reply: Reply, include_usage: bool) -> web.StreamResponse:
    told = out.told
    for _ in count() if told.chatter else range(told.comments):
        await out.send(b": keepalive\n\n")
    if told.error_frame_after == 0:
        return await _error_frame(out)
    await generation.after_token()
    for value in opening_chunks(reply):
        await out.send(frame(value, told.crlf))
    for index in range(len(reply.tokens)):
        await generation.next_token()
        said = token_chunk(replace(reply, tokens=_stamped(reply.tokens, index)) if told.stamp_tokens else reply, index)
        await out.send(frame(said, told.crlf))
        generation.seen.tokens_sent += 1
        if told.error_frame_after == index + 1:
            return await _error_frame(out)
    await generation.after_token()
    if told.eof_without_done:
        return await out.close()
    for value in closing_chunks(reply, include_usage):
        await out.send(frame(value, told.crlf))
    await out.send(frame("[DONE]", told.crlf))
    if told.hold_after_done:
        await generation.state.released.wait()
    return await out.close()


async def _huge(out: AnswerWriter, size: int) -> web.StreamResponse:
    """One JSON object without a Content-Length; its name and usage stand behind the numbers."""
    piece = b"0.12345678," * 6000
    await out.send(b'{"object": "list", "data": [', sized=False)
    sent = 0
    while size < 0 or sent < size:
        await out.send(piece)
        sent += len(piece)
    await out.send(b'0], "model": "stand-in", "usage": {"prompt_tokens": 7, "total_tokens": 7}}')
    return await out.close()


async def _interim(request: web.Request, most: int) -> None:
    """Informational answers, which a client is to pass over."""
    for _ in count() if most < 0 else range(most):
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has left")
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0)


def _stamped(tokens: tuple[str, ...], index: int) -> tuple[str, ...]:
    return (*tokens[:index], str(time.monotonic_ns()), *tokens[index + 1 :])


async def _error_frame(out: AnswerWriter) -> web.StreamResponse:
    error = {"error": {"code": 500, "message": "stand-in error", "type": "server_error"}}
    await out.send(frame(error, out.told.crlf))
    return await out.close()


@dataclass
class Generation:
    """The clock and the faults of one reply."""

    request: web.Request
    state: EngineState
    seen: SeenRequest
    told: Behaviour
    produced: int = 0

    async def before_first_token(self) -> None:
        await asyncio.sleep(self.state.options.prefill_delay_s + self.told.delay_s)
        await _work(self.told.busy_s)

    async def next_token(self) -> None:
        """Wait for one more token; the faults that are due at this count happen first."""
        await self.after_token()
        delay = self.told.token_delay_s
        await asyncio.sleep(self.state.options.token_delay_s if delay is None else delay)
        self.produced += 1

    async def after_token(self) -> None:
        """The faults that are due after the tokens produced so far."""
        if self.told.die_after_tokens == self.produced and self.state.die is not None:
            self.state.die()
        if self.produced in (self.told.die_after_tokens, self.told.abort_after_tokens):
            self._abort()
        if self.told.hang_after_tokens == self.produced:
            await asyncio.Event().wait()
        if self.told.hold_after_tokens == self.produced:
            await self.state.released.wait()

    def _abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()
        raise ConnectionResetError("the stand-in aborts this connection")


class AnswerWriter:
    """Sends the answer's body; the status goes out with its first byte, as engines do it."""

    def __init__(self, request: web.Request, told: Behaviour, stream: bool) -> None:
        self.told = told
        self._request = request
        self._response = web.StreamResponse(headers=dict(told.headers))
        self._response.content_type = "text/event-stream" if stream else told.content_type
        self._stream = stream

    async def send(self, data: bytes, *, sized: bool = True) -> None:
        if not self._response.prepared:
            if not self._stream and sized:
                self._response.content_length = len(data)
            await self._response.prepare(self._request)
        size = self.told.split_bytes or len(data)
        for start in range(0, len(data), size):
            await self._response.write(data[start : start + size])
            if self.told.split_bytes:
                # One turn of the loop a piece: they leave in packets of their own.
                await asyncio.sleep(0)

    async def close(self) -> web.StreamResponse:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write_eof()
        return self._response


def flood(total_bytes: int) -> None:
    """Writes log lines as fast as they are taken. Blocking."""
    line = "flood " + "x" * 193 + "\n"
    for _ in range(total_bytes // len(line)):
        sys.stdout.write(line)
    sys.stdout.flush()


async def _work(seconds: float) -> None:
    """Uses the CPU, and answers other requests now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pause = time.monotonic() + 0.02
        while time.monotonic() < pause:
            pass
        await asyncio.sleep(0)

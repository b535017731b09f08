"""A client made of a bare connection: it can leave at any byte, read slowly, and tells a clean end from a cut one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from tests.soak.answers import Heard
from tests.soak.asked import Asked, Leaving
from tests.soak.record import Ending

_CONNECT_S = 10.0
#: A slow reader's buffer: what does not fit stays with roost.
_SMALL_BYTES = 8192
_PLENTY_BYTES = 2**20


class _Left(Exception):
    """The client has had what it stayed for."""


@dataclass
class _Reading:
    """An answer as it comes in."""

    leaving: Leaving | None
    pause_s: float
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """To the end that the framing promises. Raises IncompleteReadError when it ends before, _Left."""
        line = await _line(reader)
        status = int(line.split()[1])
        while header := (await _line(reader)).strip():
            name, _, value = header.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self.status = status
        async for piece in _body(reader, self.headers):
            self.pieces.append(piece)
            if self.leaving and self.leaving.pieces is not None and len(self.pieces) >= self.leaving.pieces:
                raise _Left
            if self.pause_s:
                await asyncio.sleep(self.pause_s)


async def exchange(port: int, asked: Asked, deadline_s: float) -> Heard:
    """Send one request and read what comes, as this client does it."""
    reading = _Reading(asked.leaving, asked.pause_s)
    sent_at = time.time()
    try:
        async with asyncio.timeout(deadline_s):
            ending = await _talk(port, asked, reading)
    except TimeoutError:
        ending = Ending.LATE
    return Heard(ending, sent_at, time.time(), reading.status, reading.headers, b"".join(reading.pieces))


async def _talk(port: int, asked: Asked, reading: _Reading) -> Ending:
    limit = _SMALL_BYTES if asked.pause_s else _PLENTY_BYTES
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    except (OSError, TimeoutError):
        return Ending.REFUSED
    try:
        return await _converse(port, asked, reading, reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        return Ending.CUT
    finally:
        if asked.leaving and asked.leaving.aborts:
            writer.transport.abort()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _converse(
    port: int, asked: Asked, reading: _Reading, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Ending:
    data, leaving = asked.wire(port), asked.leaving
    if leaving is None:
        writer.write(data)
        await reading.read(reader)
        return Ending.WHOLE
    writer.write(data[: max(1, int(len(data) * leaving.sent_share))])
    try:
        async with asyncio.timeout(leaving.after_s):
            await reading.read(reader)
    except (TimeoutError, _Left):
        return Ending.LEFT
    return Ending.WHOLE


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await _line(reader), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await _line(reader)
    elif length := int(headers.get("content-length", 0)):
        yield await reader.readexactly(length)


@dataclass
class Idle:
    """Connections that were answered once and then keep still."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self, port: int, count: int) -> None:
        """Hold `count` of them; those of a daemon that is gone do not count."""
        self.writers = [writer for writer in self.writers if not writer.is_closing()]
        while len(self.writers) < count:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            await _Reading(None, 0.0).read(reader)
            self.writers.append(writer)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

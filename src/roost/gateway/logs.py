"""`/roost/v1/logs/{worker}`: the end of a log as text, and with `?follow=1` what is added to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from roost.errors import InvalidType, NotFound
from roost.gateway.call import Call

#: The daemon's own log under this name.
DAEMON = "daemon"
_TAIL_BYTES = 64 * 2**10
_MOST_LINES = 100_000
POLL_S = 0.25
_READ_BYTES = 64 * 2**10


async def show_log(call: Call) -> web.StreamResponse:
    """The last `?lines=` (200) lines; `?follow=1` goes on until the client leaves, across rotations."""
    path = _path(call)
    lines = _lines(call)
    follow = call.request.query.get("follow") in ("1", "true")
    tail, position, inode = await asyncio.to_thread(read_tail, path, lines)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "x-request-id": call.exchange.request_id,
        }
    )
    await response.prepare(call.request)
    await response.write(tail)
    if follow:
        async for data in follow_file(path, position, inode):
            await response.write(data)
    await response.write_eof()
    return response


def _path(call: Call) -> Path:
    name = call.request.match_info["worker"]
    if name == DAEMON:
        found = call.gateway.deps.daemon_log()
    else:
        found = call.gateway.deps.pool.log_path(name) or _log_of_model(call, name)
    if found is None:
        raise NotFound(f'there is no log of "{name[:100]}"; "roost status" names the workers', param="worker")
    return Path(found)


def _log_of_model(call: Call, name: str) -> str | None:
    """By role or alias; an unknown name is refused by the resolver in its own words."""
    return call.gateway.deps.pool.log_path(call.gateway.resolve(name).model_id)


def _lines(call: Call) -> int:
    text = call.request.query.get("lines", "200")
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InvalidType("`lines` must be a whole number", param="lines")
    return min(int(text), _MOST_LINES)


def read_tail(path: Path, lines: int) -> tuple[bytes, int, int]:
    """The last lines (within a bounded number of bytes), the position after them, the file's inode. Blocking."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            span = min(size, max(_TAIL_BYTES, lines * 200))
            file.seek(size - span)
            kept = file.read(span).splitlines(keepends=True)
            if span < size:
                # The first one is most likely cut.
                kept = kept[1:]
            return b"".join(kept[-lines:] if lines else ()), size, os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return b"", 0, 0


async def follow_file(path: Path, position: int, inode: int) -> AsyncIterator[bytes]:
    """What is appended from `position` on; a rotated file is read from its start. Endless."""
    while True:
        data, position, inode = await asyncio.to_thread(read_on, path, position, inode)
        if data:
            yield data
        else:
            await asyncio.sleep(POLL_S)


def read_on(path: Path, position: int, inode: int) -> tuple[bytes, int, int]:
    """What was appended since, within a bounded number of bytes, and the new position and inode. Blocking."""
    try:
        with path.open("rb") as file:
            now = os.fstat(file.fileno())
            if now.st_ino != inode or now.st_size < position:
                position = 0
            file.seek(position)
            data = file.read(_READ_BYTES)
            return data, position + len(data), now.st_ino
    except FileNotFoundError:
        return b"", position, inode

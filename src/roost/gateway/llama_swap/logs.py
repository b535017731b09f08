"""`/logs` and `/logs/stream…`: roost's own log, the workers' logs, or both, as plain text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from roost.errors import BadRequest, ModelNotFound
from roost.gateway.call import Call
from roost.gateway.logs import POLL_S, read_on, read_tail

_HISTORY_LINES = 500


@dataclass
class _Position:
    """How far a file has been read."""

    offset: int
    inode: int


async def history(call: Call) -> web.StreamResponse:
    """The end of roost's own log."""
    text = b"".join([(await asyncio.to_thread(read_tail, path, _HISTORY_LINES))[0] for path in _own(call)])
    return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=_headers(call))


async def stream(call: Call) -> web.StreamResponse:
    """What was written, unless `?no-history`, and then what is added, until the client leaves."""
    paths = _source(call, call.request.match_info.get("log", ""))
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8", **_headers(call)})
    response.enable_chunked_encoding()
    # Before the headers: whoever has seen them gets everything that is written from then on.
    written, positions = await _so_far(paths)
    await response.prepare(call.request)
    if written and "no-history" not in call.request.query:
        await response.write(written)
    async for data in _follow(paths, positions):
        await response.write(data)
    return response


def _headers(call: Call) -> dict[str, str]:
    return {
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
        "x-request-id": call.exchange.request_id,
    }


def _source(call: Call, name: str) -> Callable[[], Iterator[Path]]:
    """The files behind a name, asked for again and again: a worker's log comes with its first start."""
    match name:
        case "":
            return lambda: _both(call)
        case "proxy":
            return lambda: _own(call)
        case "upstream":
            return lambda: _workers(call)
    try:
        model_id = call.gateway.resolve(name).model_id
    except ModelNotFound as error:
        raise BadRequest(f"there is no such log; use proxy, upstream or a model: {error.message}") from error
    return lambda: _of(call, model_id)


def _own(call: Call) -> Iterator[Path]:
    if path := call.gateway.deps.daemon_log():
        yield Path(path)


def _of(call: Call, model_id: str) -> Iterator[Path]:
    if path := call.gateway.deps.pool.log_path(model_id):
        yield Path(path)


def _workers(call: Call) -> Iterator[Path]:
    for view in call.gateway.deps.pool.views():
        yield from _of(call, view.model_id)


def _both(call: Call) -> Iterator[Path]:
    yield from _own(call)
    yield from _workers(call)


async def _so_far(paths: Callable[[], Iterator[Path]]) -> tuple[bytes, dict[Path, _Position]]:
    """The ends of the files, and where each of them ends."""
    written: list[bytes] = []
    positions: dict[Path, _Position] = {}
    for path in paths():
        tail, offset, inode = await asyncio.to_thread(read_tail, path, _HISTORY_LINES)
        positions[path] = _Position(offset, inode)
        written.append(tail)
    return b"".join(written), positions


async def _follow(paths: Callable[[], Iterator[Path]], positions: dict[Path, _Position]) -> AsyncIterator[bytes]:
    """Endless. A file that appears later is read from its start."""
    while True:
        quiet = True
        for path in paths():
            known = positions.setdefault(path, _Position(0, 0))
            data, known.offset, known.inode = await asyncio.to_thread(read_on, path, known.offset, known.inode)
            if data:
                quiet = False
                yield data
        if quiet:
            await asyncio.sleep(POLL_S)

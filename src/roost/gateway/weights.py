"""Models as files: what a paired machine may read of them or put here, and what the CLI asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import BinaryIO

from aiohttp import web
from pydantic import BaseModel, ValidationError

from roost.api import TravelEvent, TravelWish
from roost.errors import BadRequest, InvalidType, RequestTimeout, RoostError
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.gateway.hosts import only
from roost.nodes.travel import OFFSET_HEADER, WeightsSaid

_RANGE = re.compile(r"bytes=(\d{1,16})-")
_CHUNK_BYTES = 2**20


async def peer_files(call: Call) -> web.StreamResponse:
    """The WeightsSaid of a model; one that was never hashed is hashed first."""
    said = await call.gateway.deps.weights.offered(call.request.match_info["name"])
    return web.Response(text=said.model_dump_json(), content_type="application/json")


async def peer_file(call: Call) -> web.StreamResponse:
    """One file of a model by its digest, from the byte on that `Range` names."""
    match = call.request.match_info
    found = await call.gateway.deps.weights.file(match["name"], match["digest"])
    offset = range_start(only(call.request.headers, "Range"), found.size_bytes)
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    if offset is not None:
        headers["Content-Range"] = f"bytes {offset}-{found.size_bytes - 1}/{found.size_bytes}"
    response = web.StreamResponse(status=200 if offset is None else 206, headers=headers | call.exchange.headers())
    response.content_length = found.size_bytes - (offset or 0)
    file = await asyncio.to_thread(found.path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, offset or 0)
        await response.prepare(call.request)
        await _send(call, response, file, response.content_length)
    finally:
        file.close()
    await response.write_eof()
    return response


async def peer_arrive(call: Call) -> web.StreamResponse:
    """A paired machine wants to send a model: what is Awaited of it."""
    limits = call.gateway.deps.settings().gateway
    try:
        said = WeightsSaid.model_validate_json(await read_body(call.request, limits))
    except ValidationError:
        raise InvalidType("the body is not the list of a model's files") from None
    name = call.request.match_info["name"]
    if said.id != name:
        raise InvalidType("the id in the body is not the one in the path", param="id")
    assert call.exchange.peer is not None
    awaited = await call.gateway.deps.weights.arrive(call.exchange.peer, name, said)
    return web.Response(text=awaited.model_dump_json(), content_type="application/json")


async def peer_take(call: Call) -> web.StreamResponse:
    """The next bytes of a file that was announced; `x-roost-offset` says where they belong."""
    match, offset = call.request.match_info, only(call.request.headers, OFFSET_HEADER) or "0"
    if not (offset.isascii() and offset.isdigit()) or len(offset) > 16:
        raise InvalidType(f"{OFFSET_HEADER} is a number of bytes")
    assert call.exchange.peer is not None
    await call.gateway.deps.weights.take(call.exchange.peer, match["name"], match["digest"], int(offset), _body(call))
    return web.json_response({"status": "ok"})


async def _body(call: Call) -> AsyncIterator[bytes]:
    """Raises RequestTimeout when it stands still."""
    idle_s = call.gateway.deps.settings().gateway.body_idle_s
    while not call.request.content.at_eof():
        try:
            async with asyncio.timeout(idle_s):
                data = await call.request.content.read(_CHUNK_BYTES)
        except TimeoutError:
            raise RequestTimeout(f"the body stood still for {idle_s:g} s; send it again") from None
        call.exchange.bytes_in += len(data)
        yield data


def range_start(header: str | None, size_bytes: int) -> int | None:
    """Where the wanted part begins; None: all of it. Raises BadRequest for a part that is no end of the file."""
    if header is None:
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None or int(match[1]) >= size_bytes:
        raise BadRequest(f"Range must be bytes=N- with N below the {size_bytes:,} bytes of the file", param="Range")
    return int(match[1])


async def _send(call: Call, response: web.StreamResponse, file: BinaryIO, left: int) -> None:
    """Never more than was told, though the file may have grown."""
    deadline_s = call.gateway.deps.settings().gateway.write_deadline_s
    while left > 0:
        data = await asyncio.to_thread(file.read, min(_CHUNK_BYTES, left))
        if not data:
            raise ConnectionResetError("the file became shorter while it was sent")
        async with asyncio.timeout(deadline_s):
            await response.write(data)
        left -= len(data)
        call.exchange.bytes_out += len(data)


async def pull(call: Call) -> web.StreamResponse:
    """Fetch a model from a paired machine: lines of JSON, the last one with `done` or an error."""
    return await _travel(call, call.gateway.deps.weights.pull)


async def push(call: Call) -> web.StreamResponse:
    """Send a model to a paired machine, told in the same way."""
    return await _travel(call, call.gateway.deps.weights.push)


async def _travel(call: Call, way: Callable[[TravelWish], AsyncGenerator[TravelEvent, None]]) -> web.StreamResponse:
    limits = call.gateway.deps.settings().gateway
    document = parse_object(await read_body(call.request, limits), limits.max_json_depth)
    try:
        wish = TravelWish.model_validate({**document.values, "model": call.request.match_info["name"]})
    except ValidationError:
        raise InvalidType('the body must be {"node": NAME or null, "id": ID or null}') from None
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"} | call.exchange.headers())
    async with aclosing(way(wish)) as events:
        # What is refused at once is refused with its own status.
        first = await anext(events)
        await response.prepare(call.request)
        await response.write(_line(first))
        try:
            async for event in events:
                await response.write(_line(event))
        except RoostError as error:
            call.exchange.error = error
            await response.write(json.dumps(error.openai_body()).encode() + b"\n")
    await response.write_eof()
    return response


def _line(shape: BaseModel) -> bytes:
    return shape.model_dump_json().encode() + b"\n"

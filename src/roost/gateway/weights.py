"""Models as files: what a paired machine may read of them, and the fetch that the CLI asks for."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from typing import BinaryIO

from aiohttp import web
from pydantic import BaseModel, ValidationError

from roost.api import TravelWish
from roost.errors import BadRequest, InvalidType, RoostError
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.gateway.hosts import only

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
    limits = call.gateway.deps.settings().gateway
    document = parse_object(await read_body(call.request, limits), limits.max_json_depth)
    try:
        wish = TravelWish.model_validate({**document.values, "model": call.request.match_info["name"]})
    except ValidationError:
        raise InvalidType('the body must be {"node": NAME or null, "id": ID or null}') from None
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"} | call.exchange.headers())
    async with aclosing(call.gateway.deps.weights.pull(wish)) as events:
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

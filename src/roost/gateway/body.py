"""Reading a request body within its limits: size, standing still, encoding, type."""

from __future__ import annotations

import asyncio

from aiohttp import web

from roost.config.settings import GatewaySettings
from roost.errors import BadRequest, RequestTimeout, RequestTooLarge, UnsupportedMediaType
from roost.gateway.hosts import only


def check_json_type(request: web.Request) -> None:
    """Raises UnsupportedMediaType unless the body is declared as JSON in UTF-8: a page's plain form is neither."""
    if request.headers.get("Content-Type") == "application/json":
        return  # as nearly everybody writes it
    if request.content_type != "application/json":
        raise UnsupportedMediaType("the body must be sent with Content-Type: application/json")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("JSON is read as UTF-8 only; leave the charset away")


def check_declared_size(request: web.Request, limits: GatewaySettings) -> None:
    """Raises before a byte is read: RequestTooLarge by Content-Length, UnsupportedMediaType for a compressed body,
    BadRequest for one of two types."""
    only(request.headers, "Content-Type")
    if (request.content_length or 0) > limits.max_body_bytes:
        raise _too_large(limits)
    if (only(request.headers, "Content-Encoding") or "identity").lower() != "identity":
        raise UnsupportedMediaType("compressed bodies are not read; send the body as it is")


async def read_body(request: web.Request, limits: GatewaySettings) -> bytes:
    """The whole body. Raises RequestTooLarge, UnsupportedMediaType, RequestTimeout (it stands still), BadRequest."""
    check_declared_size(request, limits)
    if not request.body_exists:
        return b""
    if request.content.is_eof() and request.content.exception() is None:
        # It came whole with its headers: nothing to wait for.
        return _within(request.content.read_nowait(), limits)
    return await _read_on(request, limits)


async def _read_on(request: web.Request, limits: GatewaySettings) -> bytes:
    pieces: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.body_idle_s) as idle:
            while piece := await request.content.readany():
                size += len(piece)
                if size > limits.max_body_bytes:
                    raise _too_large(limits)
                pieces.append(piece)
                idle.reschedule(loop.time() + limits.body_idle_s)
    except TimeoutError:
        raise RequestTimeout(
            f"the body stood still for {limits.body_idle_s:g} s after {size:,} bytes; send it again"
        ) from None
    except web.RequestPayloadError:
        raise BadRequest("the body is not framed as HTTP demands; send it with a correct Content-Length") from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _within(body: bytes, limits: GatewaySettings) -> bytes:
    if len(body) > limits.max_body_bytes:
        raise _too_large(limits)
    return body


def _too_large(limits: GatewaySettings) -> RequestTooLarge:
    return RequestTooLarge(
        f"the body is larger than the {limits.max_body_bytes:,} bytes that gateway.max_body_bytes allows"
    )

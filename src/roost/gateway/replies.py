"""Errors as responses: the one error object, its headers, and aiohttp's own refusals in the same shape. Pure."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping

from aiohttp import web

from roost.errors import (
    BadRequest,
    HeadersTooLarge,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    RequestTooLarge,
    RoostError,
)

#: Waiting clients spread over this share of the time that they were told.
_JITTER_SHARE = 0.25


#: An error in the words of one protocol; some name the request in them, by its id.
ErrorBody = Callable[[RoostError, str], bytes]


def error_response(
    error: RoostError, headers: Mapping[str, str], body: ErrorBody | None = None, request_id: str = ""
) -> web.Response:
    """The error as a JSON response with `headers` (who answered) and its own; `body` says it in another shape."""
    return web.Response(
        status=error.status,
        body=(body or error_bytes)(error, request_id),
        content_type="application/json",
        headers={**headers, **error_headers(error)},
    )


def error_bytes(error: RoostError, request_id: str = "") -> bytes:
    """OpenAI's object, which has no place for the request's id."""
    return json.dumps(error.openai_body(), ensure_ascii=False).encode("utf-8", "backslashreplace")


def error_frame(error: RoostError) -> bytes:
    """The last event of a stream that failed after its 200."""
    return b"data: " + error_bytes(error) + b"\n\n"


def error_headers(error: RoostError, chance: float | None = None) -> dict[str, str]:
    """`Retry-After` in whole seconds, the same with jitter in `retry-after-ms` (official SDKs prefer it),
    `x-should-retry`, `WWW-Authenticate`."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        share = _JITTER_SHARE * (random.random() if chance is None else chance)
        headers["Retry-After"] = str(math.ceil(error.retry_after_s) + int(error.retry_after_s * share))
        headers["retry-after-ms"] = str(int(1000 * error.retry_after_s * (1 + share)))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="roost", error="invalid_token"'
    return headers


def from_http(error: web.HTTPException) -> RoostError:
    """aiohttp's own refusal (no such route, wrong method, too large) as ours."""
    match error:
        case web.HTTPMethodNotAllowed():
            methods = ", ".join(sorted(error.allowed_methods))
            return MethodNotAllowed(f"{error.method} is not offered here; use {methods}")
        case web.HTTPNotFound():
            return NotFound('there is no such path; GET "/roost/v1/openapi.json" lists them')
        case web.HTTPRequestEntityTooLarge():
            return RequestTooLarge("the body is too large")
    if error.status < 500:
        return BadRequest(f"the request was refused: {error.reason}")
    return InternalError("something went wrong inside roost; the log has the details")


def from_parser(status: int, message: str) -> RoostError:
    """Bytes that are no HTTP request; the bytes themselves are not repeated."""
    if status == 408:
        return RequestTimeout("the request's headers did not arrive in time")
    if "too long" in message.lower() or "too many" in message.lower() or "more than" in message.lower():
        return HeadersTooLarge("a header, the request line or their number is over the limit")
    return BadRequest("this is not a well-formed HTTP request")

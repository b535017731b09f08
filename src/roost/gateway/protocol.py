"""Below the application: malformed HTTP answered in our shape, and headers that never end.

aiohttp offers no other place for both. Nothing here reads a body.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from roost.config.settings import GatewaySettings
from roost.gateway.exchange import request_id
from roost.gateway.replies import error_response, from_parser

#: How long an idle connection is kept.
_KEEP_ALIVE_S = 300.0
#: Rest of a refused body that is read and thrown away, so that the client can read the refusal.
_LINGER_S = 3.0
_MOST_HEADERS = 100


class GatewayProtocol(web.RequestHandler):
    """One connection of a client."""

    #: A request whose headers are not complete so long after its first byte is 408.
    headers_deadline_s = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None and self._between_requests():
            self._deadline = asyncio.get_running_loop().call_later(self.headers_deadline_s, self._give_up_on_headers)
        elif self._deadline is not None and not self._between_requests():
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Bytes that are no request. They are neither logged nor repeated."""
        error = from_parser(status, message or str(exc or ""))
        response = error_response(error, {"x-request-id": request_id(None)})
        response.force_close()
        return response

    def _between_requests(self) -> bool:
        return not self._messages and not self._request_in_progress

    def _give_up_on_headers(self) -> None:
        if self.transport is None or not self._between_requests():
            return
        error = from_parser(408, "")
        body = error_response(error, {}).body
        text = body if isinstance(body, bytes) else b""
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
            + f"x-request-id: {request_id(None)}\r\nContent-Length: {len(text)}\r\n\r\n".encode()
            + text
        )
        self.force_close()


class _Server(web.Server):
    """aiohttp's, making our connections."""

    def __call__(self) -> web.RequestHandler:
        return GatewayProtocol(self, loop=self._loop, **self._kwargs)


class GatewayRunner(web.AppRunner):
    """Runs a gateway application with our connections; used as `web.AppRunner` is."""

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            **plain._kwargs,
        )


def runner_options(settings: GatewaySettings) -> dict[str, Any]:
    """Arguments for `GatewayRunner`: limits on headers, cancellation when a client leaves, no access log."""
    return {
        "access_log": None,
        "handler_cancellation": True,
        "max_line_size": settings.max_header_bytes,
        "max_field_size": settings.max_header_bytes,
        "max_headers": _MOST_HEADERS,
        "auto_decompress": False,
        "keepalive_timeout": _KEEP_ALIVE_S,
        "lingering_time": _LINGER_S,
    }

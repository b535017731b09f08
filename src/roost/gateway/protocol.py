"""Below the application: malformed HTTP answered in our shape, and headers that never end.

aiohttp offers no other place for both. Nothing here reads a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web

from roost.config.settings import GatewaySettings
from roost.errors import RoostError, TooManyConnections
from roost.gateway.exchange import request_id
from roost.gateway.replies import error_bytes, error_headers, error_response, from_parser
from roost.gateway.state import GATEWAY

#: How long an idle connection is kept.
_KEEP_ALIVE_S = 300.0
#: Rest of a refused body that is read and thrown away, so that the client can read the refusal.
_LINGER_S = 3.0
_MOST_HEADERS = 100
#: A connection over the limit that says nothing is closed after so long.
_SURPLUS_S = 1.0
_SURPLUS_REFUSED = TooManyConnections(
    "cannot take another connection: as many as gateway.max_connections allows are open; "
    "close some, or try again shortly",
    retry_after_s=1,
)
_log = structlog.get_logger("roost.gateway")


class GatewayProtocol(web.RequestHandler):
    """One connection of a client."""

    #: A request whose headers are not complete so long after its first byte is 408.
    headers_deadline_s = 10.0
    #: There were too many connections when this one came.
    surplus = False
    _deadline: asyncio.TimerHandle | None = None
    _key: str | None = None
    _key_read = False

    #: The address and port that the client connected to; None: no TCP. Asked of the kernel once.
    listener: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.listener = _listener(transport)
        if self.surplus:
            self._deadline = asyncio.get_running_loop().call_later(_SURPLUS_S, self.force_close)

    def data_received(self, data: bytes) -> None:
        if self.surplus:
            # Said only now: a client that is cut off while it sends reads no answer.
            self._end_with(_SURPLUS_REFUSED)
            return
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

    def proven_key(self, digest: Callable[[bytes], str]) -> str | None:
        """The digest of the key whose certificate the client showed and proved in the handshake; None: it showed none.
        Read once: it cannot change. Raises what `digest` does."""
        if not self._key_read and self.transport is not None:
            connection = self.transport.get_extra_info("ssl_object")
            # Older versions of TLS are for plain clients.
            shown = connection.getpeercert(True) if connection and connection.version() == "TLSv1.3" else None
            self._key = digest(shown) if shown else None
            self._key_read = True
        return self._key

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
        if self._between_requests():
            self._end_with(from_parser(408, ""))

    def _end_with(self, error: RoostError) -> None:
        """Answer without a request object, and close."""
        if self.transport is None:
            return
        own_id = request_id(None)
        body = error_bytes(error)
        headers = {**error_headers(error), "Content-Type": "application/json", "Connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n{''.join(lines)}"
        self.transport.write(f"{head}x-request-id: {own_id}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        _log.info("request", id=own_id, status=error.status, code=error.code)
        self.force_close()


def listener_of(request: web.BaseRequest) -> tuple[str, int] | None:
    """The address and port that a request came to; None: over a unix socket, or its connection is gone."""
    if isinstance(request.protocol, GatewayProtocol):
        return request.protocol.listener
    return _listener(request.transport) if request.transport is not None else None


def _listener(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    name = transport.get_extra_info("sockname")
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


class _Server(web.Server):
    """aiohttp's, making our connections."""

    #: The most that may be open; None: no limit.
    most_connections: Callable[[], int] | None = None

    def __call__(self) -> web.RequestHandler:
        protocol = GatewayProtocol(self, loop=self._loop, **self._kwargs)
        protocol.surplus = self.most_connections is not None and len(self.connections) >= self.most_connections()
        return protocol


class GatewayRunner(web.AppRunner):
    """Runs a gateway application with our connections; used as `web.AppRunner` is."""

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        server = _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            **plain._kwargs,
        )
        gateway = self.app[GATEWAY]
        if not gateway.control:
            # The control socket has no limit: a flooded daemon must still take orders.
            server.most_connections = lambda: gateway.deps.settings().gateway.max_connections
        return server


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

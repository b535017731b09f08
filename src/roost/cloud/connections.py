"""The connections to all providers: one session, made when the first is asked, and looks at who cannot be reached."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.tracing import Trace

from roost.cloud.address import Address
from roost.cloud.wire import CONNECT_TIMEOUT_S, KEEPALIVE_S


class _Connector(aiohttp.TCPConnector):
    """A connection within a bounded time, its name and TLS included."""

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from error


def cloud_session() -> aiohttp.ClientSession:
    """Call it in the running loop and close it at the end. No proxy, no cookie, nothing unpacked, no wall clock."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
    )


async def look(address: Address) -> str | None:
    """Connects and lets go; why that is not possible, or None. A page that asks for a login in a hotel has no
    certificate of the provider's: TLS is part of the look."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=_tls() if address.is_tls else None
            )
    except TimeoutError:
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    writer.transport.abort()
    return None


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()

"""JSON posted to one worker over aiohttp's connections and parser, and nothing of its session.

The session makes each request anew (address, headers, cookies, redirects, a task that writes the body), which was a
sixth of all that a short request cost roost; `benchmarks/overhead.py` is where it shows. Here what never changes is
made once a worker, and the body is handed to the socket with the headers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

_FIXED = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
#: Up to here a body is copied behind its headers, so that both leave in one packet; a longer one is not copied.
_JOINED_BYTES = 64 * 2**10
_READ_BUFFER_BYTES = 2**16
#: As aiohttp's session has them by default.
_LONGEST_LINE_BYTES = 8190
_MOST_HEADERS = 128
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Content(Protocol):
    """The body of an answer as it comes."""

    async def readany(self) -> bytes:
        """What has come; nothing at the end. Raises aiohttp.ClientError or OSError when it breaks."""
        ...

    def at_eof(self) -> bool: ...


class Held(Protocol):
    """What is let go of with an answer."""

    def close(self) -> None: ...

    def release(self) -> None: ...


@dataclass
class Posted:
    """An answer whose head has come. Read `content` to its end, or `close`."""

    status: int
    headers: CIMultiDictProxy[str]
    content: Content
    _connection: Held = field(repr=False)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as the worker declared them; None: it did not."""
        declared = self.headers.get("Content-Length")
        return int(declared) if declared is not None else None

    def close(self) -> None:
        """Breaks the connection if the body has not come to its end, which tells the worker to stop."""
        self._connection.close()

    def release(self) -> None:
        """Keeps the connection for the next request if the body has come to its end; else breaks it."""
        self._connection.release()


class Wire:
    """Posts to one worker. Made in the running loop; lives as long as the session whose connections it uses."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, headers: Mapping[str, str], connect_timeout_s: float
    ) -> None:
        self._session = session
        self._base = base_url.rstrip("/")
        self._headers = {**_FIXED, **headers}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        # Never sent: connectors take the address, and their key, from a request.
        self._address = ClientRequest(
            "POST",
            URL(self._base, encoded=True),
            headers=self._headers,
            skip_auto_headers=("User-Agent",),
            loop=asyncio.get_running_loop(),
            session=session,
        )
        self._heads: dict[tuple[str, bool], bytes] = {}

    async def post(self, path: str, body: bytes, *, keep: bool) -> Posted:
        """Sends `body` and waits for the head of the answer, without a clock. `keep`: the connection is of use for
        another request.

        Raises aiohttp.ClientError or OSError; ClientResponseError for an answer that is no proper HTTP. Cancelled, it
        breaks the connection.
        """
        connection = await self._connected()
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_READ_BUFFER_BYTES,
                max_line_size=_LONGEST_LINE_BYTES,
                max_field_size=_LONGEST_LINE_BYTES,
                max_headers=_MOST_HEADERS,
            )
            self._write(connection.transport, self._head(path, len(body), keep), body)
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    break
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._address.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise
        if not protocol.upgraded:
            content.on_eof(connection.release)
        return Posted(message.code, message.headers, content, connection)

    async def _connected(self) -> Connection:
        connector = self._session.connector
        if connector is None or connector.closed:
            raise aiohttp.ClientConnectionError("this worker is gone: its session is closed")
        try:
            return await connector.connect(self._address, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {self._address.url}") from error

    def _write(self, transport: asyncio.Transport | None, head: bytes, body: bytes) -> None:
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def _head(self, path: str, length: int, keep: bool) -> bytes:
        fixed = self._heads.get((path, keep))
        if fixed is None:
            fixed = self._heads[path, keep] = self._fixed_head(path, keep)
        return b"%bContent-Length: %d\r\n\r\n" % (fixed, length)

    def _fixed_head(self, path: str, keep: bool) -> bytes:
        headers = {**self._address.headers, **({} if keep else {"Connection": "close"})}
        headers.pop("Content-Length", None)
        lines = [f"POST {URL(self._base + path, encoded=True).raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any(_CONTROL.search(line) for line in lines):
            raise aiohttp.InvalidURL(self._address.url, "a control character in its address or headers")
        return "".join(f"{line}\r\n" for line in lines).encode()

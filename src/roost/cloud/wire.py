"""OpenAI's protocol to a provider: the bytes as they are, and an eye on what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp

from roost.cloud.address import Address
from roost.engines.wire import Content, Posted, Wire

#: A provider that takes no connection in this time is not there; looking up its name and TLS count.
CONNECT_TIMEOUT_S = 5.0
#: Kept for the next request: a new one costs some round trips. Providers close theirs after a minute or more.
KEEPALIVE_S = 15.0
#: Answers that may name a pause.
_PAUSING = (429, 503, 529)


class Watch(Protocol):
    """Is told what becomes of requests to one provider."""

    def unreachable(self, why: str) -> None: ...

    def asked_to_wait(self, seconds: float) -> None: ...

    def begun(self, body_bytes: int) -> Callable[[], None]:
        """A request is on its way; what is returned is called when it is over."""
        ...


@dataclass(frozen=True)
class CloudWire:
    """To one provider with one key."""

    wire: Wire = field(repr=False)
    address: Address
    watch: Watch = field(repr=False)

    async def post(self, path: str, body: bytes, *, keep: bool) -> Posted:
        """Raises aiohttp.ClientError or OSError; cancelled, it breaks the connection."""
        done = self.watch.begun(len(body))
        try:
            # Whatever `keep` says: it is for engines that close a connection behind a stream.
            posted = await self.wire.post(self.address.path(path), body, keep=True)
        except BaseException as error:
            done()
            if why := why_unreachable(error):
                self.watch.unreachable(why)
            raise
        if posted.status in _PAUSING and (pause := retry_after_s(posted.headers)) is not None:
            self.watch.asked_to_wait(pause)
        return guarded(posted, posted.content, done)


def guarded(posted: Posted, content: Content, done: Callable[[], None] = lambda: None) -> Posted:
    """The same answer with another body; `done` is called when it is let go of."""
    return Posted(posted.status, posted.headers, content, _Guard(posted, done))


@dataclass(frozen=True)
class _Guard:
    posted: Posted
    done: Callable[[], None]

    def close(self) -> None:
        self.done()
        self.posted.close()

    def release(self) -> None:
        self.done()
        self.posted.release()


def why_unreachable(error: BaseException) -> str | None:
    """Why no connection came about, for people; None when there was one, whatever happened to it then."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {CONNECT_TIMEOUT_S:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is refused ({error.certificate_error})"
        case aiohttp.ClientConnectorSSLError():
            return "it speaks no TLS that this machine does"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return (os.strerror(number) if number else str(error.os_error)).lower()
    return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that it asks to wait; None: it names none."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())

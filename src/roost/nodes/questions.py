"""A question to another machine: by one of its addresses, and what it means when there is no answer."""

from __future__ import annotations

import asyncio
import json
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import ValidationError

#: OpenSSL's codes for a certificate that is not valid yet, or not any more.
_NOT_NOW = (9, 10)


class Refusal(Exception):
    """The machine was reached and does not let us in, or says nothing of use."""


#: What a question to another machine may end with; ValueError: its answer or address is none (pydantic's is one too).
UNREACHED = (aiohttp.ClientError, OSError, TimeoutError, ValueError, OverflowError, Refusal)


class OneAddress(AbstractResolver):
    """Resolves any name to the one address that is being tried: the name in the URL is a key's, not a host's."""

    def __init__(self) -> None:
        self.address: tuple[str, int] | None = None

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        if self.address is None:
            raise OSError(f"no address of {host} is known")
        name, at = self.address
        found = await asyncio.get_running_loop().getaddrinfo(name, at, type=1, family=family)
        return [
            ResolveResult(hostname=host, host=str(place[0]), port=at, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        return


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def told_by(body: bytes) -> str | None:
    """The message of an error object of a roost; None for anything else."""
    try:
        return shown(str(json.loads(body)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return None


def shown(said: str) -> str:
    """What another machine said, as it may stand in lists, logs and on a terminal: bounded, printable."""
    return "".join(letter if letter.isprintable() else " " for letter in said[:500])


def explained(error: Exception, address: str) -> tuple[str, str | None]:
    """What went wrong there and the command that mends it, for people. The command is None where waiting may do."""
    pair_again = "roost node join CODE"
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError(verify_code=code)
        ) if code in _NOT_NOW:
            return f"the certificate at {address} is not valid now: are the clocks of both machines right?", None
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return f"another machine answers at {address}: it does not have the key that was pinned", pair_again
        case Refusal():
            return f"{address}: {error}", pair_again
        case aiohttp.ClientConnectorError():
            return f"nobody answers at {address}: {error.os_error.strerror or 'no connection'}", None
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return f"{address} closed the connection; perhaps it does not know this machine any more", None
        case TimeoutError():
            return f"nobody answers at {address}: no answer in time", None
        case ValidationError():
            return f"{address} answers as another version of roost would ({error.error_count()} fields differ)", None
        case _:
            return f"no connection to {address}: {type(error).__name__}", None

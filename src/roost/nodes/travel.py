"""Weights on their way between paired machines: what is said, and the questions to the other end."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Protocol
from urllib.parse import quote

import aiohttp
from pydantic import Field, StringConstraints

from roost.api import TravelEvent, TravelWish
from roost.engines.far import FarServer
from roost.errors import BadRequest, Conflict, Forbidden, ModelNotFound, ModelUnavailable, NodeUnreachable, RoostError
from roost.nodes.questions import UNREACHED, told_by
from roost.nodes.shapes import Said

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
#: A machine that is asked for the digests of a model that it never hashed reads all of it first.
HASHING_S = 1800.0
IDLE_S = 35.0
_CONNECT_S = 10.0
_LARGEST_LIST_BYTES = 2 * 2**20
_MOST_FILES = 3000
_CHUNK_BYTES = 2**20
#: What is sent at once, with where it belongs.
SLICE_BYTES = 8 * 2**20
OFFSET_HEADER = "x-roost-offset"


class FileSaid(Said):
    """One file of a model. `name` is relative to the model's folder."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")]
    name: _Text
    size_bytes: int = Field(ge=0, le=2**50)
    sha256: _Digest


class WeightsSaid(Said):
    """`GET /roost/v1/peer/models/{name}/files`: all that makes a model."""

    id: _Text
    format: Literal["gguf", "safetensors"]
    fingerprint: _Digest
    files: tuple[FileSaid, ...] = Field(min_length=1, max_length=_MOST_FILES)


class Awaited(Said):
    """The answer to one that is announced to be sent."""

    #: All of it is there, and it is in the catalog.
    here: bool = False
    #: Where each file goes on that is not there whole and checked: sha256 -> bytes.
    missing: dict[_Digest, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class FileHere:
    """A file that may be given to a paired machine."""

    path: Path
    size_bytes: int


class Weights(Protocol):
    """Models as sets of files, to be given and fetched."""

    async def offered(self, name: str) -> WeightsSaid:
        """Of this machine, by its physical id. Raises ModelNotFound, ModelUnavailable, BadRequest."""
        ...

    async def file(self, name: str, digest: str) -> FileHere:
        """The same, and NotFound for a digest that is none of its files'."""
        ...

    def pull(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        """Fetch a model from a paired machine: how far it has come, at last what came of it. Raises RoostError."""
        ...

    def push(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        """Send a model to a paired machine. Raises RoostError."""
        ...

    async def arrive(self, peer: str, name: str, said: WeightsSaid) -> Awaited:
        """A paired machine wants to send a model. Raises Forbidden, BadRequest, StorageFull."""
        ...

    async def take(self, peer: str, name: str, digest: str, offset: int, body: AsyncIterator[bytes]) -> None:
        """The next bytes of one of its files. Raises Conflict, Forbidden, BadRequest, StorageFull."""
        ...


class NoWeights:
    """Nothing travels here."""

    async def offered(self, name: str) -> WeightsSaid:
        raise ModelNotFound(f"this machine has no {name!r} to give")

    async def file(self, name: str, digest: str) -> FileHere:
        raise ModelNotFound(f"this machine has no {name!r} to give")

    async def pull(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        raise NodeUnreachable("no machine is paired with this one", should_retry=False)
        yield

    async def push(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        raise NodeUnreachable("no machine is paired with this one", should_retry=False)
        yield

    async def arrive(self, peer: str, name: str, said: WeightsSaid) -> Awaited:
        raise Conflict("this machine takes no models")

    async def take(self, peer: str, name: str, digest: str, offset: int, body: AsyncIterator[bytes]) -> None:
        raise Conflict("this machine takes no models")


class BrokeOff(Exception):
    """The connection ended before the file did; what came is good."""


async def ask_for_files(server: FarServer, name: str) -> WeightsSaid:
    """Raises ModelNotFound and others with the words of the machine, NodeUnreachable."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=HASHING_S)
    url = f"{_address(server, name)}/files"
    try:
        async with server.session.get(url, headers=dict(server.headers), timeout=timeout) as response:
            body = b""
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _LARGEST_LIST_BYTES:
                    raise ValueError("a list without an end")
            if response.status != 200:
                _refused(server.name, name, response.status, body)
            return WeightsSaid.model_validate_json(body)
    except UNREACHED as error:
        raise NodeUnreachable(f"cannot ask {server.name} for {name}: {type(error).__name__}") from error


async def read_file(server: FarServer, name: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
    """A file of that machine, from `offset` bytes on. Raises BrokeOff, and others with the words of the machine."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=IDLE_S)
    headers = dict(server.headers) | ({"Range": f"bytes={offset}-"} if offset else {})
    url = f"{_address(server, name)}/files/{digest}"
    waiting = bytearray()
    try:
        async with server.session.get(url, headers=headers, timeout=timeout) as response:
            if response.status not in (200, 206):
                _refused(server.name, name, response.status, await response.content.read(_CHUNK_BYTES))
            starts = response.headers.get("Content-Range", "bytes 0-").startswith(f"bytes {offset}-")
            if not starts or (offset > 0) != (response.status == 206):
                raise ModelUnavailable(f"cannot go on with {name}: {server.name} does not go on at byte {offset:,}")
            async for piece in response.content.iter_any():
                waiting += piece
                # In pieces that are worth a thread each.
                if len(waiting) >= _CHUNK_BYTES:
                    yield bytes(waiting)
                    waiting.clear()
            yield bytes(waiting)
    except UNREACHED as error:
        yield bytes(waiting)
        raise BrokeOff(type(error).__name__) from error


async def announce(server: FarServer, said: WeightsSaid) -> Awaited:
    """Raises BrokeOff, and others with the words of the machine."""
    path = f"{_address(server, said.id)}/arrive"
    body = await _send(server, "POST", path, said.id, io.BytesIO(said.model_dump_json().encode()), {}, HASHING_S)
    try:
        return Awaited.model_validate_json(body)
    except ValueError as error:
        raise ModelUnavailable(f"cannot send {said.id}: {server.name} answers as another version would") from error


async def send_slice(server: FarServer, name: str, digest: str, offset: int, data: bytes) -> None:
    """The same."""
    headers = {OFFSET_HEADER: str(offset)}
    await _send(server, "PUT", f"{_address(server, name)}/files/{digest}", name, io.BytesIO(data), headers, HASHING_S)


async def _send(
    server: FarServer, method: str, url: str, name: str, data: io.BytesIO, more: dict[str, str], wait_s: float
) -> bytes:
    kind = "application/json" if method == "POST" else "application/octet-stream"
    headers = dict(server.headers) | {"Content-Type": kind} | more
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=wait_s)
    try:
        async with server.session.request(method, url, data=data, headers=headers, timeout=timeout) as response:
            body = await response.content.read(_LARGEST_LIST_BYTES)
            while more_body := await response.content.read(_LARGEST_LIST_BYTES - len(body)):
                body += more_body
            if response.status == 409:
                raise Conflict(told_by(body) or "it answers 409")
            if response.status != 200:
                _refused(server.name, name, response.status, body, "send", "to")
            return body
    except UNREACHED as error:
        raise BrokeOff(type(error).__name__) from error


def _address(server: FarServer, name: str) -> str:
    return f"{server.base_url}/roost/v1/peer/models/{quote(name)}"


def _refused(node: str, name: str, status: int, body: bytes, doing: str = "have", way: str = "from") -> NoReturn:
    kinds: dict[int, type[RoostError]] = {400: BadRequest, 404: ModelNotFound, 403: Forbidden}
    told = told_by(body) or f"it answers {status}"
    raise kinds.get(status, ModelUnavailable)(f"cannot {doing} {name} {way} {node}: {told}")

"""Typed client of the daemon's own API, over the control socket in the run dir: no key, no TCP.

The CLI's and the dashboard's only way in. The OpenAI routes answer on the same socket.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import BaseModel, ValidationError

from roost.api import (
    Invitation,
    InviteOutcome,
    JoinCode,
    LoadAccepted,
    NodesReport,
    Paired,
    Revoked,
    RoleChange,
    RoleReport,
    StatusReport,
    TravelEvent,
    TravelWish,
)
from roost.errors import RoostError

S = TypeVar("S", bound=BaseModel)

#: Any host name does: the socket decides who answers.
BASE = "http://roost"
#: A question that needs no model is answered at once or something is wrong; generation has no such limit.
QUESTION_TIMEOUT_S = 10.0
#: Longest line of a stream; one chunk with a tool call of some megabytes still fits.
MAX_LINE_BYTES = 16 * 2**20


class RoostClientError(RoostError):
    """The daemon refused, broke off, or gave no answer; the message is its own where it gave one."""

    def __init__(self, message: str, *, received_status: int | None = None, received_code: str | None = None) -> None:
        super().__init__(message)
        self.received_status = received_status
        self.received_code = received_code


class NoDaemon(RoostClientError):
    """Nobody listens on the control socket."""

    def __init__(self) -> None:
        super().__init__('no roost is running here; start it with "roost up"')


@dataclass(frozen=True)
class Delta:
    """A piece of a reply as it arrives; `reasoning` is what a thinking model says to itself."""

    text: str = ""
    reasoning: str = ""
    #: Set on the last piece: stop, length, tool_calls.
    finish: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer as it came, errors too."""

    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    #: The JSON object; empty for anything else.
    body: Mapping[str, Any]


class DaemonClient:
    """One connection's worth of questions. Use it as an async context manager."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=QUESTION_TIMEOUT_S),
            read_bufsize=MAX_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self) -> StatusReport:
        return _shape(StatusReport, await self._json("GET", "/roost/v1/status", timeout_s=QUESTION_TIMEOUT_S))

    async def health(self) -> dict[str, Any]:
        """The body of `/health`, with its HTTP status under `http_status`: 200 only if the default role can answer."""
        async with self._request("GET", "/health", timeout_s=QUESTION_TIMEOUT_S, raise_errors=False) as response:
            body = await _body(response)
            return {**body, "http_status": response.status}

    async def model(self, name: str) -> dict[str, Any]:
        """The entry of `/v1/models/{name}`: a role or a physical id, with its `roost` object."""
        answer = await self._json("GET", f"/v1/models/{quote(name)}", timeout_s=QUESTION_TIMEOUT_S)
        return dict(answer)

    async def models(self) -> list[dict[str, Any]]:
        answer = await self._json("GET", "/v1/models", timeout_s=QUESTION_TIMEOUT_S)
        return list(answer["data"])

    async def explain(self, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """Where a request for this name would go; `asked`: what matters of it, as `/roost/v1/explain` takes it."""
        query = urlencode({"name": name, **asked})
        return dict(await self._json("GET", f"/roost/v1/explain?{query}", timeout_s=QUESTION_TIMEOUT_S))

    async def usage(self) -> dict[str, dict[str, Any]]:
        """What was asked with the keys of each name."""
        answer = await self._json("GET", "/roost/v1/usage", timeout_s=QUESTION_TIMEOUT_S)
        return dict(answer["usage"])

    async def load(self, model: str) -> LoadAccepted:
        """Make it resident now, whatever the rotation policy says. May last as long as the load."""
        return _shape(LoadAccepted, await self._json("POST", f"/roost/v1/models/{quote(model)}/load"))

    async def unload(self, model: str) -> LoadAccepted:
        return _shape(LoadAccepted, await self._json("POST", f"/roost/v1/models/{quote(model)}/unload"))

    async def restart(self, model: str | None = None) -> LoadAccepted:
        """Drain, stop and start one worker again; None: every resident one."""
        suffix = "" if model is None else f"/{quote(model)}"
        return _shape(LoadAccepted, await self._json("POST", f"/roost/v1/workers/restart{suffix}"))

    async def shutdown(self) -> None:
        """Starts the drain; the daemon is gone when its socket no longer answers."""
        await self._json("POST", "/roost/v1/shutdown", timeout_s=QUESTION_TIMEOUT_S)

    async def put_role(self, role: str, model: str) -> RoleReport:
        change = RoleChange(model=model).model_dump(exclude_defaults=True)
        answer = await self._json("PUT", f"/roost/v1/roles/{quote(role)}", body=change, timeout_s=QUESTION_TIMEOUT_S)
        return _shape(RoleReport, answer)

    async def nodes(self) -> NodesReport:
        return _shape(NodesReport, await self._json("GET", "/roost/v1/nodes", timeout_s=QUESTION_TIMEOUT_S))

    async def node_invite(self) -> Invitation:
        return _shape(Invitation, await self._json("POST", "/roost/v1/nodes/invites", timeout_s=QUESTION_TIMEOUT_S))

    async def node_outcome(self, invite: str) -> InviteOutcome:
        """Waits until the invite is used, expired or withdrawn."""
        return _shape(InviteOutcome, await self._json("GET", f"/roost/v1/nodes/invites/{quote(invite)}"))

    async def node_join(self, code: str) -> Paired:
        """May last as long as the addresses in the code take to be tried."""
        body = JoinCode(code=code).model_dump()
        return _shape(Paired, await self._json("POST", "/roost/v1/nodes/join", body=body))

    async def node_revoke(self, name: str) -> Revoked:
        way = f"/roost/v1/nodes/{quote(name, safe='')}/revoke"
        return _shape(Revoked, await self._json("POST", way, timeout_s=QUESTION_TIMEOUT_S))

    async def pull(
        self, model: str, node: str | None = None, model_id: str | None = None
    ) -> AsyncIterator[TravelEvent]:
        """Fetch a model from a paired machine: how far it has come, then `done`. Raises RoostClientError."""
        async for event in self._travel("pull", TravelWish(model=model, node=node, id=model_id)):
            yield event

    async def push(self, model: str, node: str, model_id: str | None = None) -> AsyncIterator[TravelEvent]:
        """Send a model to a paired machine, told in the same way."""
        async for event in self._travel("push", TravelWish(model=model, node=node, id=model_id)):
            yield event

    async def _travel(self, way: str, wish: TravelWish) -> AsyncIterator[TravelEvent]:
        path = f"/roost/v1/models/{quote(wish.model)}/{way}"
        async with self._request("POST", path, body=wish.model_dump()) as response:
            last = None
            async for line in response.content:
                last = _travelled(line)
                yield last
            if last is None or last.step != "done":
                raise RoostClientError('roost broke off the transfer; see "roost logs"')

    async def worker_log(self, worker: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """A worker's log as it lies on disk; with `follow` it goes on until the caller stops."""
        path = f"/roost/v1/logs/{quote(worker)}" + ("?follow=1" if follow else "")
        async with self._request("GET", path) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Delta]:
        """Stream a reply. Raises RoostClientError when it is refused, or breaks off before its proper end."""
        body: dict[str, Any] = {"model": model, "messages": [dict(message) for message in messages], "stream": True}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        async with self._request("POST", "/v1/chat/completions", body=body, headers=headers) as response:
            async for event in _events(response):
                if delta := _delta(event):
                    yield delta

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        """A chat completion in one piece, whatever becomes of it. Raises RoostClientError without an answer."""
        way = self._request("POST", "/v1/chat/completions", body=body, headers=headers, raise_errors=False)
        async with way as response:
            found = await _body(response)
            told = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, told, found if isinstance(found, dict) else {})

    async def events(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a chat completion. Raises RoostClientError when it is refused, or breaks off."""
        async with self._request("POST", "/v1/chat/completions", body=body, headers=headers) as response:
            async for event in _events(response):
                yield event

    async def _json(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, timeout_s: float | None = None
    ) -> Any:
        async with self._request(method, path, body=body, timeout_s=timeout_s) as response:
            return await _body(response)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        raise_errors: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=QUESTION_TIMEOUT_S)
        asked = self._session.request(method, BASE + path, json=body, headers=headers, timeout=timeout)
        try:
            async with asked as response:
                if raise_errors and response.status >= 400:
                    raise _refusal(response.status, await response.read())
                yield response
        except aiohttp.ClientConnectorError as error:
            raise _not_reached(error.os_error, self._socket) from error
        except aiohttp.ClientError as error:
            raise RoostClientError(
                f'roost broke off the connection ({type(error).__name__}); see "roost logs"'
            ) from error
        except TimeoutError as error:
            raise RoostClientError(f'roost gave no answer within {timeout_s:.0f} s; see "roost logs"') from error


def _shape(shape: type[S], answer: Any) -> S:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise RoostClientError(
            f"cannot read the daemon's answer as {shape.__name__} ({error.error_count()} fields differ): "
            'the daemon is of another version; run "roost down" and "roost up"'
        ) from error


def _not_reached(error: OSError, socket: Path) -> RoostClientError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return NoDaemon()
    return RoostClientError(f"cannot reach roost at {socket}: {error.strerror or error}")


def _refusal(status: int, body: bytes) -> RoostClientError:
    """The daemon's own sentence; what is no error object of ours is only counted, since it may hold anything."""
    try:
        error = json.loads(body)["error"]
        return RoostClientError(str(error["message"]), received_status=status, received_code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        text = f'roost answered {status} with {len(body)} bytes that are no error object; see "roost logs"'
        return RoostClientError(text, received_status=status)


async def _body(response: aiohttp.ClientResponse) -> Any:
    raw = await response.read()
    try:
        return json.loads(raw) if raw else {}
    except ValueError as error:
        raise RoostClientError(
            f'roost answered {response.status} without JSON; see "roost logs"',
            received_status=response.status,
        ) from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each SSE event up to `[DONE]`; comments (heartbeats) are skipped."""
    async for line in response.content:
        if not line.startswith(b"data:"):
            continue
        payload = line[len(b"data:") :].strip()
        if payload == b"[DONE]":
            return
        yield _event(payload)
    # A clean end of file without [DONE] is a reply that broke off; official SDKs take it for success.
    raise RoostClientError("the reply broke off before its end; what came so far is incomplete")


def _travelled(line: bytes) -> TravelEvent:
    event = _event(line)
    return _shape(TravelEvent, event)


def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload)
    except ValueError as error:
        raise RoostClientError("roost sent a broken stream event; the reply is incomplete") from error
    if "error" in event:
        raise RoostClientError(str(event["error"].get("message")), received_code=str(event["error"].get("code")))
    return dict(event)


def _delta(event: Mapping[str, Any]) -> Delta | None:
    choice = (event.get("choices") or [{}])[0]
    delta = choice.get("delta") or {}
    piece = Delta(
        text=delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        finish=choice.get("finish_reason") or "",
    )
    return None if piece == Delta() else piece

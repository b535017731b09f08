"""A scripted provider on loopback: it answers as OpenAI's and Anthropic's services do, or fails as they do.

async with CloudStandIn() as cloud:
    cloud.next("429", "truncated")     # the next two requests; then it answers again
    ... ask cloud.url ...
    assert cloud.requests[0].body["model"] == "gpt-x"
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

from roost.testing.cloud_answers import (
    Said,
    anthropic_error,
    anthropic_error_event,
    anthropic_events,
    anthropic_message,
    openai_chat,
    openai_completion,
    openai_embeddings,
    openai_error,
    openai_events,
    openai_text_events,
)
from roost.testing.cloud_rules import problem

KEY = "sk-stand-in-0123456789abcdef"
MESSAGES = "/v1/messages"
#: Faults that are a status, with the types that both services give their errors.
STATUSES: Mapping[str, tuple[int, str, str]] = {
    "400": (400, "invalid_request_error", "invalid_request_error"),
    "401": (401, "invalid_request_error", "authentication_error"),
    "403": (403, "permission_error", "permission_error"),
    "404": (404, "invalid_request_error", "not_found_error"),
    "413": (413, "invalid_request_error", "request_too_large"),
    "429": (429, "rate_limit_error", "rate_limit_error"),
    "500": (500, "server_error", "api_error"),
    "503": (503, "server_error", "api_error"),
    "529": (529, "server_error", "overloaded_error"),
}
#: What else `next` takes. hang: nothing comes; tools: the first tool is called; thinks; length: cut by the limit;
#: garbage: an event of the stream is no JSON; truncated: the connection breaks in mid-stream; short: the stream ends
#: properly in the middle; stops: it is silent from the middle on; error-frame: an error instead of the rest; html: a
#: page instead of an answer; drop: the connection breaks before an answer.
FAULTS = frozenset({*STATUSES, "hang", "garbage", "truncated", "short", "stops", "error-frame", "html", "drop"})
ANSWERS = frozenset({"ok", "tools", "thinks", "length"})


@dataclass(frozen=True)
class CloudRequest:
    """One that came, whatever became of it."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any]


@dataclass
class CloudStandIn:
    """Runs while its block does. Speaks both protocols at once, by the path."""

    text: str = "Hello from far away."
    thought: str = "They greet me."
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"city": "Paris"})
    #: None: any key will do.
    key: str | None = KEY
    #: Beside a 429 or 503; None: no such header.
    retry_after_s: int | None = 7
    requests: list[CloudRequest] = field(default_factory=list)
    #: Set once a request waits for what will not come.
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set once a client has gone before its answer was over.
    left: asyncio.Event = field(default_factory=asyncio.Event)
    _script: deque[str] = field(default_factory=deque)
    _always: str = "ok"
    _runner: web.AppRunner | None = None
    _port: int = 0

    @property
    def url(self) -> str:
        """Without /v1."""
        return f"http://127.0.0.1:{self._port}"

    def next(self, *what: str) -> None:
        """What becomes of the next requests, one after the other."""
        self._script.extend(_known(one) for one in what)

    def always(self, what: str) -> None:
        """What becomes of all others."""
        self._always = _known(what)

    async def __aenter__(self) -> CloudStandIn:
        await self.come_back()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.go_away()

    async def go_away(self) -> None:
        """Nobody listens at its address any more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def come_back(self) -> None:
        """At the same address."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port, self._runner = runner.addresses[0][1], runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.requests.append(CloudRequest(request.path, dict(request.headers), raw, body))
        what = self._script.popleft() if self._script else self._always
        try:
            return await self._played(request, body, what)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    async def _played(self, request: web.Request, body: dict[str, Any], what: str) -> web.StreamResponse:
        messages = request.path.endswith(MESSAGES)
        if what == "hang":
            await self._wait()
        if what == "drop":
            return _broken(request)
        if what == "html":
            return web.Response(text="<html>Bad gateway</html>", content_type="text/html", status=502)
        if (refusal := self._refusal(request, body, what, messages)) is not None:
            return refusal
        said = self._said(body, what)
        if body.get("stream"):
            return await self._stream(request, what, _events(request.path, body, said), messages)
        if what in FAULTS:
            return _broken(request) if what == "truncated" else web.Response(body=b"{nonsense")
        return web.json_response(_whole(request.path, body, said))

    def _refusal(
        self, request: web.Request, body: dict[str, Any], what: str, messages: bool
    ) -> web.StreamResponse | None:
        why = f"the script says {what}"
        if self.key is not None and self.key not in _presented(request, messages):
            what, why = "401", "invalid x-api-key"
        elif messages and "anthropic-version" not in request.headers:
            what, why = "400", "anthropic-version: header is required"
        elif messages and (wrong := problem(body)):
            what, why = "400", wrong
        if what not in STATUSES:
            return None
        status, openai_kind, anthropic_kind = STATUSES[what]
        told = anthropic_error(why, anthropic_kind) if messages else openai_error(why, openai_kind, None)
        limited = status in (429, 503) and self.retry_after_s is not None
        return web.json_response(
            told, status=status, headers={"Retry-After": str(self.retry_after_s)} if limited else None
        )

    def _said(self, body: Mapping[str, Any], what: str) -> Said:
        tools = body.get("tools") or ()
        call = None
        if what == "tools" and tools:
            call = (str(tools[0].get("function", tools[0])["name"]), self.arguments)
        thought = self.thought if what == "thinks" else ""
        return Said(str(body.get("model")), self.text, thought, call, cut=what == "length")

    async def _stream(
        self, request: web.Request, what: str, events: Iterator[bytes], messages: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for count, event in enumerate(events):
            if what in FAULTS and count == 4:
                return await self._broken_stream(request, response, what, messages)
            await response.write(event)
        await response.write_eof()
        return response

    async def _broken_stream(
        self, request: web.Request, response: web.StreamResponse, what: str, messages: bool
    ) -> web.StreamResponse:
        match what:
            case "stops":
                await self._wait()
            case "truncated":
                _broken(request)
            case "garbage":
                name = b"event: content_block_delta\n" if messages else b""
                await response.write(name + b'data: {"type": "content_block_delta", "choices": [{oops\n\n')
            case "error-frame" if messages:
                await response.write(anthropic_error_event("Overloaded", "overloaded_error"))
            case "error-frame":
                frame = openai_error("The server had an error", "server_error", None)
                await response.write(f"data: {json.dumps(frame)}\n\n".encode())
        return response

    async def _wait(self) -> None:
        self.waiting.set()
        await asyncio.Event().wait()


def _known(what: str) -> str:
    if what not in FAULTS | ANSWERS:
        raise ValueError(f'"{what}" cannot be played; there are {", ".join(sorted(FAULTS | ANSWERS))}')
    return what


def _presented(request: web.Request, messages: bool) -> tuple[str, ...]:
    """Anthropic's service takes a key in its own header as well."""
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return (bearer, request.headers.get("x-api-key", "")) if messages else (bearer,)


def _broken(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _events(path: str, body: Mapping[str, Any], said: Said) -> Iterator[bytes]:
    if path.endswith(MESSAGES):
        return anthropic_events(said)
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    return openai_events(said, asked) if path.endswith("/chat/completions") else openai_text_events(said, asked)


def _whole(path: str, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
    if path.endswith(MESSAGES):
        return anthropic_message(said)
    if path.endswith("/embeddings"):
        given = body.get("input")
        return openai_embeddings(said.model, given if isinstance(given, list) else [given])
    return openai_chat(said) if path.endswith("/chat/completions") else openai_completion(said)

"""A stand-in for the daemon behind its control socket, and the installed `roost` run against it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from roost.api import StatusReport
from roost.config.paths import Paths
from tests.unit.cli.reports import status

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ROOST = Path(sys.executable).with_name("roost")
COMMAND_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def home_environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's own: every path under `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "ROOST_HOME": str(home), "HF_HUB_OFFLINE": "1", **more}


async def roost(home: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Done:
    """Run the installed command to its end."""
    process = await asyncio.create_subprocess_exec(
        str(ROOST),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=home_environment(home, **(environment or {})),
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass
class ControlDaemon:
    """Answers as the daemon would; a test replaces the routes it is about and looks at `seen`."""

    report: StatusReport = field(default_factory=lambda: status(pid=os.getpid()))
    routes: dict[tuple[str, str], Handler] = field(default_factory=dict)
    #: Method, path with query, JSON body.
    seen: list[tuple[str, str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.seen.append((request.method, request.path_qs, json.loads(raw) if raw else None))
        handler = self.routes.get((request.method, request.path))
        if handler is not None:
            return await handler(request)
        if (request.method, request.path) == ("GET", "/roost/v1/status"):
            return web.Response(text=self.report.model_dump_json(), content_type="application/json")
        if (request.method, request.path) == ("GET", "/roost/v1/explain"):
            # A name without candidates that means something here.
            here = {"kind": "name", "private": False, "goes_to": None, "steps": [], "notes": [], "is_elsewhere": False}
            return web.json_response({"name": request.query["name"], **here})
        return refusal(404, "not_found", f"there is no {request.path}")


def refusal(http_status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=http_status)


def answers(body: Any, http_status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(body, status=http_status)

    return handler


def streams(*events: str, ends: bool = True) -> Handler:
    """An SSE answer of these data payloads; `ends` closes it with `[DONE]`."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in (*events, *(["[DONE]"] if ends else [])):
            await response.write(f": loading\n\ndata: {event}\n\n".encode())
        await response.write_eof()
        return response

    return handler


def says(*words: str, finish: str = "stop") -> Handler:
    pieces = [{"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in words]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(words)}}
    return streams(*(json.dumps(piece) for piece in (*pieces, last, usage)))


@asynccontextmanager
async def listening(daemon: ControlDaemon, home: Path) -> AsyncIterator[ControlDaemon]:
    """The stand-in behind the socket that a `roost` with this home finds."""
    path = Paths.from_environment({"ROOST_HOME": str(home)}).control_socket
    path.parent.mkdir(mode=0o700, parents=True)
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", daemon.handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield daemon
    finally:
        await runner.cleanup()

"""The routes of the stand-in engine: an OpenAI server with llama.cpp's manners, and a window on what it saw."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from roost.engines.launchers.mlx_requests import DROP_ROUTE
from roost.testing.engine_generate import STATE, EngineState, answer, flood
from roost.testing.engine_memory import Appetite, give_back, take
from roost.testing.engine_options import Behaviour, EngineOptions
from roost.testing.engine_record import Recorder
from roost.testing.engine_reply import compose, count_tokens, embedding, prompt_text, reads_history, relevance
from roost.testing.engine_websocket import echo

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: The stand-in reads anything: limits are the gateway's business.
_LARGEST_BODY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Serving:
    """A stand-in engine that runs in this process."""

    url: str
    state: EngineState

    @property
    def recorder(self) -> Recorder:
        return self.state.recorder


@asynccontextmanager
async def serve(options: EngineOptions, die: Callable[[], None] | None = None) -> AsyncIterator[Serving]:
    """Serve on the options' socket or port until the block ends. On a unix socket the url's host means nothing."""
    app = build_app(options, die)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=0.05, handler_cancellation=not options.ignores_disconnect
    )
    await runner.setup()
    try:
        if options.uds is not None:
            await web.UnixSite(runner, options.uds).start()
            url = "http://stand-in"
        else:
            await web.TCPSite(runner, options.host, options.port).start()
            url = f"http://{options.host}:{runner.addresses[0][1]}"
        yield Serving(url, app[STATE])
    finally:
        await runner.cleanup()


def build_app(options: EngineOptions, die: Callable[[], None] | None = None) -> web.Application:
    """The application. Its load runs as the app starts; `die` is what a crash does (see EngineState)."""
    app = web.Application(client_max_size=_LARGEST_BODY_BYTES, middlewares=[_gate])
    state = EngineState(options, die=die, behave=options.behave)
    state.slots = asyncio.Semaphore(options.slots) if options.slots else None
    app[STATE] = state
    app.cleanup_ctx.append(_load)
    app.add_routes([web.route(method, path, handler) for method, path, handler in _ROUTES])
    return app


async def _load(app: web.Application) -> AsyncIterator[None]:
    state = app[STATE]
    if state.options.load_s == 0 and state.options.appetite == Appetite():
        state.end_load()
    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(_become_ready(state))
        yield
        loading.cancel()


async def _become_ready(state: EngineState) -> None:
    await asyncio.to_thread(state.larder.begin_load)
    await asyncio.sleep(state.options.load_s)
    if state.options.load_fails is None:
        state.end_load()


@web.middleware
async def _gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Loading and the key, before any route but the window."""
    state = request.app[STATE]
    if request.path.startswith("/stand-in/"):
        return await handler(request)
    if not state.loaded.is_set() and not (state.options.health_lies and request.path == "/health"):
        return error(503, "Loading model", "unavailable_error")
    if request.path != "/health" and not _authorized(request, state.options):
        return error(401, "Invalid API Key", "authentication_error")
    return await handler(request)


def _authorized(request: web.Request, options: EngineOptions) -> bool:
    if options.api_key_env is None:
        return True
    expected = f"Bearer {os.environ[options.api_key_env]}"
    return hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode())


def error(status: int, message: str, kind: str, **more: object) -> web.Response:
    """llama-server's error object: its code is a number."""
    return web.json_response({"error": {"code": status, "message": message, "type": kind, **more}}, status=status)


async def _generate(request: web.Request) -> web.StreamResponse:
    """Chat and completions."""
    state, raw = request.app[STATE], await request.read()
    seen = state.recorder.begin(request.method, request.path_qs, list(request.headers.items()), raw)
    try:
        body = json.loads(raw)
        messages = body.get("messages") or ()
        told = state.behave.updated(body.get("x_stand_in") or {}).for_messages(len(messages))
        if refusal := _refusal(state.options, body):
            return refusal
        if told.strict_history and not reads_history(messages):
            return error(500, "arguments of a tool call are no JSON object", "server_error")
        if state.options.log_prompts:
            sys.stdout.write(f"INFO prompt: {prompt_text(body)[:300]}\n")
            sys.stdout.flush()
        if told.log_bytes:
            await asyncio.to_thread(flood, told.log_bytes)
        reply = compose(state.options.model, seen.digest, request.path.endswith("/chat/completions"), body, told)
        async with state.slots or _unlimited(), _fed(state, told):
            return await answer(request, state, seen, reply, body, told)
    except ValueError as problem:
        return error(400, f"cannot parse the request: {problem}", "invalid_request_error")
    except (asyncio.CancelledError, ConnectionResetError):
        seen.disconnected_at = time.time()
        raise
    finally:
        state.recorder.end(seen)


@asynccontextmanager
async def _unlimited() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _fed(state: EngineState, told: Behaviour) -> AsyncIterator[None]:
    """What a request takes, for itself and of the cache."""
    borrowed = await asyncio.to_thread(take, told.borrow_mib)
    await asyncio.to_thread(state.larder.keep, told.keep_mib, state.options.cache_cap_mib)
    try:
        yield
    finally:
        give_back(borrowed)


def _refusal(options: EngineOptions, body: dict[str, Any]) -> web.Response | None:
    if options.strict_model and body.get("model") != options.model:
        return error(404, f"model '{body.get('model')}' not found", "not_found_error")
    prompt_tokens = count_tokens(prompt_text(body))
    if options.context is not None and prompt_tokens > options.context:
        message = f"request ({prompt_tokens} tokens) exceeds the available context size ({options.context} tokens)"
        counts = {"n_prompt_tokens": prompt_tokens, "n_ctx": options.context}
        return error(400, message, "exceed_context_size_error", **counts)
    return None


@asynccontextmanager
async def _recorded(request: web.Request) -> AsyncIterator[dict[str, Any]]:
    """The parsed body of a request that is answered at once, kept by the recorder."""
    recorder, raw = request.app[STATE].recorder, await request.read()
    seen = recorder.begin(request.method, request.path_qs, list(request.headers.items()), raw)
    try:
        yield json.loads(raw)
    finally:
        recorder.end(seen)


async def _embeddings(request: web.Request) -> web.StreamResponse:
    async with _recorded(request) as body:
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        rows = [
            {"object": "embedding", "index": index, "embedding": embedding(str(text))}
            for index, text in enumerate(texts)
        ]
        count = sum(count_tokens(str(text)) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return web.json_response(
            {"object": "list", "data": rows, "model": request.app[STATE].options.model, "usage": usage}
        )


async def _rerank(request: web.Request) -> web.StreamResponse:
    async with _recorded(request) as body:
        scores = [relevance(body["query"], document) for document in body["documents"]]
        rows = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
        usage = {"prompt_tokens": count_tokens(body["query"]), "total_tokens": count_tokens(body["query"])}
        ranked = sorted(rows, key=lambda row: -row["relevance_score"])
        return web.json_response(
            {"object": "list", "results": ranked, "model": request.app[STATE].options.model, "usage": usage}
        )


async def _taken(request: web.Request) -> web.StreamResponse:
    """A route with a shape of its own: what came is kept and counted."""
    recorder, raw = request.app[STATE].recorder, await request.read()
    seen = recorder.begin(request.method, request.path_qs, list(request.headers.items()), raw)
    recorder.end(seen)
    return web.json_response({"bytes": len(raw), "digest": seen.digest}, headers={"X-Own": "kept back"})


async def _drop(request: web.Request) -> web.StreamResponse:
    """As roost's own launchers answer it; of the pages that are dropped nothing stays."""
    request.app[STATE].larder.drop_kept()
    return web.json_response({})


async def _health(request: web.Request) -> web.StreamResponse:
    if request.app[STATE].options.no_health:
        return error(404, "File Not Found", "not_found_error")
    return web.json_response({"status": "ok"})


async def _models(request: web.Request) -> web.StreamResponse:
    options = request.app[STATE].options
    meta = {"n_ctx": options.context, "n_ctx_train": options.context}
    row = {"id": options.model, "object": "model", "created": 1, "owned_by": "stand-in", "meta": meta}
    return web.json_response({"object": "list", "data": [row]})


async def _props(request: web.Request) -> web.StreamResponse:
    options = request.app[STATE].options
    path = str(options.map_files[0]) if options.map_files else options.model
    settings = {"n_ctx": options.context}
    return web.json_response(
        {"default_generation_settings": settings, "total_slots": options.slots or 4, "model_path": path}
    )


async def _slots(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    busy = state.recorder.running
    rows = [{"id": index, "is_processing": index < busy} for index in range(state.options.slots or 4)]
    return web.json_response(rows)


async def _tokenize(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    return web.json_response({"tokens": list(range(count_tokens(prompt_text(body))))})


async def _apply_template(request: web.Request) -> web.StreamResponse:
    return web.json_response({"prompt": prompt_text(await request.json())})


async def _seen(request: web.Request) -> web.StreamResponse:
    return web.json_response(request.app[STATE].recorder.report())


async def _info(request: web.Request) -> web.StreamResponse:
    """Who this is: pids, arguments, and the names (never the values) in the environment."""
    state = request.app[STATE]
    return web.json_response(
        {
            "pid": os.getpid(),
            "grandchild_pid": state.grandchild_pid,
            "process_group": os.getpgrp(),
            "argv": sys.argv,
            "environment": sorted(os.environ),
            "cwd": str(Path.cwd()),
            "model": state.options.model,
            "loaded_at_ns": state.loaded_at_ns,
        }
    )


async def _release(request: web.Request) -> web.StreamResponse:
    released = request.app[STATE].released
    released.set()
    released.clear()
    return web.json_response({"released": True})


async def _behave(request: web.Request) -> web.StreamResponse:
    """All later requests behave so; `{}` is normal again."""
    request.app[STATE].behave = Behaviour().updated(await request.json())
    return web.json_response({"behaves": True})


async def _forget(request: web.Request) -> web.StreamResponse:
    request.app[STATE].recorder.requests.clear()
    return web.json_response({"forgotten": True})


async def _die(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    with suppress(ConnectionError):
        if state.die is not None:
            state.die()
    return error(500, "this stand-in shares its process with the test and cannot die", "server_error")


_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/health", _health),
    ("GET", "/v1/models", _models),
    ("POST", "/v1/chat/completions", _generate),
    ("POST", "/v1/completions", _generate),
    ("POST", "/v1/embeddings", _embeddings),
    ("POST", "/v1/rerank", _rerank),
    ("POST", "/v1/reranking", _rerank),
    ("POST", "/infill", _taken),
    ("POST", "/v1/audio/transcriptions", _taken),
    ("GET", "/v1/audio/voices", _taken),
    ("POST", "/sdapi/v1/txt2img", _taken),
    ("GET", "/sdapi/v1/loras", _taken),
    ("POST", "/chat/completions", _generate),
    ("POST", "/responses", _taken),
    ("POST", "/rerank", _rerank),
    ("GET", "/ws", echo),
    ("GET", "/props", _props),
    ("POST", DROP_ROUTE, _drop),
    ("GET", "/slots", _slots),
    ("POST", "/tokenize", _tokenize),
    ("POST", "/apply-template", _apply_template),
    ("GET", "/stand-in/requests", _seen),
    ("GET", "/stand-in/info", _info),
    ("POST", "/stand-in/release", _release),
    ("POST", "/stand-in/behave", _behave),
    ("POST", "/stand-in/forget", _forget),
    ("POST", "/stand-in/die", _die),
)

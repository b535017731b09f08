"""/api/chat, /api/generate, /api/embed: translated, then on the way of every other request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from roost.catalog.spec import ModelSpec
from roost.config.settings import Settings
from roost.errors import InternalError, Refused
from roost.gateway.attempts import first_that_serves
from roost.gateway.auth import Scope, authorise
from roost.gateway.call import Call, Handler
from roost.gateway.destinations import Destination
from roost.gateway.document import parse_text
from roost.gateway.exchange import header_value, shown_name
from roost.gateway.inference import named_model, place, read_document, route
from roost.gateway.job import Job
from roost.gateway.models import view_of, window
from roost.gateway.names import requested_name
from roost.gateway.ollama.answers import (
    BAD_CALL,
    Clock,
    Shape,
    calls_of,
    durations,
    ending,
    line,
    logprobs_of,
    piece,
    thinking_of,
)
from roost.gateway.ollama.names import spelt_here
from roost.gateway.ollama.requests import (
    Translated,
    asks_for_nothing,
    from_chat,
    from_embed,
    from_generate,
    unloads,
)
from roost.gateway.ollama.stream import LineRewriter, line_stream
from roost.gateway.splice import literal
from roost.gateway.streaming import stream_answer
from roost.gateway.whole import held_answer, send_json
from roost.workers.types import Entry

_Translate = Callable[[Mapping[str, Any]], Translated]
_Whole = Callable[["Answered"], dict[str, Any]]


@dataclass(frozen=True)
class Answered:
    """The engine's whole answer, and its job."""

    job: Job
    values: dict[str, Any]

    @property
    def clock(self) -> Clock:
        exchange = self.job.call.exchange
        return Clock(exchange.elapsed_s(), exchange.queued_s)


async def chat(call: Call) -> web.StreamResponse:
    """A turn of a conversation; without messages the model is loaded, or unloaded."""
    return await _generate(call, from_chat, Shape.MESSAGE)


async def generate(call: Call) -> web.StreamResponse:
    """An answer to a prompt; without one the model is loaded, or unloaded."""
    return await _generate(call, from_generate, Shape.RESPONSE)


def embed(input_key: str, answer: _Whole) -> Handler:
    """The handler of one embedding route: where the input stands, and how the answer looks."""

    async def handle(call: Call) -> web.StreamResponse:
        settings, asked = await _asked(call)
        return await _serve(
            call, settings, from_embed(asked, input_key), lambda job, headers: _whole(job, headers, answer)
        )

    return handle


def embeddings(answered: Answered) -> dict[str, Any]:
    """Of /api/embed."""
    exchange = answered.job.call.exchange
    times = durations(answered.clock, None)
    return {
        "model": answered.job.model_id,
        "embeddings": _vectors(answered.values),
        "total_duration": times["total_duration"],
        "load_duration": times["load_duration"],
        "prompt_eval_count": exchange.prompt_tokens or 0,
    }


def first_embedding(answered: Answered) -> dict[str, Any]:
    """Of the older /api/embeddings, which knows one text only."""
    return {"embedding": _vectors(answered.values)[0]}


async def _generate(call: Call, translate: _Translate, shape: Shape) -> web.StreamResponse:
    settings, asked = await _asked(call)
    if asks_for_nothing(asked):
        return await _load_or_unload(call, settings, asked, shape)

    async def answer(job: Job, headers: Mapping[str, str]) -> web.StreamResponse:
        if not job.streams:
            return await _whole(job, headers, lambda answered: _answer(answered, shape))
        return await stream_answer(
            job, line_stream(job, headers), lambda: LineRewriter(call.exchange, job.model_id, shape)
        )

    translated = translate(asked)
    return await _serve(call, settings, translated, answer)


async def _asked(call: Call) -> tuple[Settings, dict[str, Any]]:
    """The body's members, with `model` spelt as it is known here."""
    settings = call.gateway.deps.settings()
    document = await read_document(call, settings)
    return settings, {**document.values, "model": spelt_here(call.gateway, document.values.get("model"))}


async def _serve(
    call: Call,
    settings: Settings,
    translated: Translated,
    answer: Callable[[Job, Mapping[str, str]], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    document = parse_text(literal(translated.body))
    ignored = translated.options.ignored
    headers = {"x-roost-ignored": header_value(shown_name(", ".join(ignored)))} if ignored else {}

    async def serve(destination: Destination) -> web.StreamResponse:
        _check_thinking(destination.spec, translated.body)
        if translated.options.window is not None and destination.far is None:
            _check_window(call, destination.spec, translated.options.window)
        job = place(call, translated.surface, settings, document, destination)
        try:
            return await answer(job, headers)
        finally:
            job.ticket.leave()

    return await first_that_serves(call, translated.surface, settings, document, serve)


def _check_window(call: Call, spec: ModelSpec, asked_tokens: int) -> None:
    """A window is a worker's own, and no request changes it. Raises Refused for a larger one than there is."""
    have = window(call.gateway, spec, view_of(call.gateway, spec.id))
    if have is not None and asked_tokens > have:
        raise Refused(
            f"cannot give num_ctx {asked_tokens:,}: the window of {spec.id} is {have:,} tokens here; "
            'leave num_ctx away, or set context for this model in roost.toml and run "roost restart"',
            param="options",
        )


def _check_thinking(spec: ModelSpec, body: Mapping[str, Any]) -> None:
    """Raises Refused where thinking is asked of a model that has no mark for it in its template."""
    asked = body.get("chat_template_kwargs", {}).get("enable_thinking")
    if asked and "thinking" not in spec.capabilities:
        raise Refused(
            f"{spec.id} does not support thinking: its chat template has no marks for it; leave `think` away",
            param="think",
        )


async def _whole(job: Job, headers: Mapping[str, str], shape: _Whole) -> web.StreamResponse:
    with job.call.gateway.held.hold(job.model_id) as hold:
        values = await held_answer(job, hold)
        said = json.dumps(shape(Answered(job, values)), ensure_ascii=False).encode("utf-8", "backslashreplace")
        return await send_json(job, said, headers)


def _answer(answered: Answered, shape: Shape) -> dict[str, Any]:
    values, exchange = answered.values, answered.job.call.exchange
    choice: dict[str, Any] = next(iter(values.get("choices") or ()), {})
    message = choice.get("message") or {}
    try:
        calls = calls_of(message)
    except ValueError:
        exchange.cause = BAD_CALL
        raise InternalError(f"{BAD_CALL}; ask again, or choose a model that is verified for tools") from None
    text = message.get("content") or choice.get("text") or ""
    numbers = ending(
        exchange.finish_reason,
        exchange.prompt_tokens,
        exchange.completion_tokens,
        answered.clock,
        values.get("timings"),
    )
    said = piece(shape, text, thinking_of(message), calls)
    return line(answered.job.model_id, said, **logprobs_of(choice), **numbers)


def _vectors(values: Mapping[str, Any]) -> list[Any]:
    rows = values.get("data")
    if not isinstance(rows, list) or not rows:
        raise InternalError("the engine answered without an embedding")
    return [row["embedding"] for row in sorted(rows, key=lambda row: row.get("index", 0))]


async def _load_or_unload(call: Call, settings: Settings, asked: Mapping[str, Any], shape: Shape) -> web.StreamResponse:
    spec = named_model(call, requested_name(asked, settings))
    if unloads(asked):
        authorise(Scope.MANAGE, call.exchange.consumer, call.gateway.control)
        await call.gateway.deps.pool.unload(spec.id)
    else:
        await _load(call, settings, spec)
    reason = "unload" if unloads(asked) else "load"
    said = line(spec.id, piece(shape, ""), done=True, done_reason=reason)
    return web.json_response(said, headers=call.exchange.headers())


async def _load(call: Call, settings: Settings, spec: ModelSpec) -> None:
    """Through the line, as a request that asks for no token: the rotation policy holds."""
    exchange = call.exchange
    ticket = call.gateway.deps.pool.enter(spec.id, Entry(exchange.request_id, wait_for_load=settings.load.wait))
    try:
        if exchange.resolution is not None:
            route(call, exchange.resolution, ticket)
        exchange.worker = await ticket.worker()
    finally:
        ticket.leave()

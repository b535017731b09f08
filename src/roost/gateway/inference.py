"""The way of one inference request: parse, resolve, check, take a place in line, relay, record."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from roost.catalog.spec import ModelSpec
from roost.config.settings import Settings
from roost.errors import ConcurrencyLimit, ShuttingDown
from roost.gateway.attempts import first_that_serves
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.context import check_lower_bound
from roost.gateway.destinations import Destination
from roost.gateway.document import Document, parse_object
from roost.gateway.exchange import shown_name
from roost.gateway.far import Far, FarTicket
from roost.gateway.fields import check_fields, least_prompt_bytes
from roost.gateway.filters import UNVERIFIED, BodyPolicy, filtered
from roost.gateway.job import Job
from roost.gateway.splice import Written
from roost.gateway.streaming import stream_answer
from roost.gateway.surfaces import CHAT, Surface, check_model
from roost.gateway.tools import history
from roost.gateway.tools.ask import HEADER, Second, ask_of, mode_of
from roost.gateway.tools.layer import Layer
from roost.gateway.tools.thoughts import thoughts_of
from roost.gateway.whole import whole_answer
from roost.registry.types import Resolution
from roost.routing.choose import Standing, choose, chosen_far
from roost.routing.decisions import Decision
from roost.toolcalls.values import Mode
from roost.workers.types import Entry, Phase, Ticket


def inference(surface: Surface) -> Callable[[Call], Awaitable[web.StreamResponse]]:
    """The handler of one inference route."""

    async def handle(call: Call) -> web.StreamResponse:
        settings = call.gateway.deps.settings()
        document = await read_document(call, settings)

        async def serve(destination: Destination) -> web.StreamResponse:
            job = place(call, surface, settings, document, destination)
            try:
                return await (stream_answer(job) if job.streams else whole_answer(job))
            finally:
                job.ticket.leave()

        return await first_that_serves(call, surface, settings, document, serve)

    return handle


async def read_document(call: Call, settings: Settings) -> Document:
    """The body of a request for a model, which from here on makes a row. Raises RoostError."""
    call.exchange.kept = True
    refuse_when_draining(call)
    body = await read_body(call.request, settings.gateway)
    call.exchange.bytes_in = len(body)
    return parse_object(body, settings.gateway.max_json_depth)


def refuse_when_draining(call: Call) -> None:
    """Raises ShuttingDown from the first SIGTERM on."""
    if call.gateway.deps.draining():
        raise ShuttingDown("roost is shutting down and takes no new requests", retry_after_s=5)


def named_model(call: Call, name: str) -> ModelSpec:
    """What a name means in this request, kept for its row. Raises ModelNotFound, ModelUnavailable."""
    call.exchange.requested = shown_name(name)
    resolution = call.exchange.resolution = call.resolve(name)
    return call.gateway.spec(resolution)


def place(call: Call, surface: Surface, settings: Settings, document: Document, destination: Destination) -> Job:
    """Everything that can be said before a worker is asked; ends with a place in line."""
    exchange, gateway = call.exchange, call.gateway
    values, spec = document.values, destination.spec
    resolution = exchange.resolution = destination.resolution
    exchange.stream = surface.generates and values.get("stream") is True
    check_fields(surface.name, values, settings.gateway.allow_fields)
    check_model(surface, spec, resolution, settings, values)
    if destination.far is not None:
        return _placed_far(call, surface, settings, document, destination, destination.far)
    settled = gateway.settled()
    check_lower_bound(surface.name, values, spec, settled.context_length(spec), surface.param)
    policy = settled.policy(resolution)
    changed = filtered(values, policy, "max_tokens", surface.generates)
    exchange.capped = changed.capped
    layer = _layer(call, values, policy, spec) if surface is CHAT else None
    messages = _messages(call, document, policy) if surface is CHAT else None
    thoughts = None
    if surface is CHAT and "thinking" in spec.capabilities:
        thoughts = thoughts_of(values, spec.chat_template, spec.id, exchange, policy)
    ticket = gateway.deps.pool.enter(
        resolution.model_id, _entry(call, settings, values, least_prompt_bytes(surface.name, values))
    )
    route(call, resolution, ticket, destination)
    return Job(
        call,
        surface,
        document,
        changed.changes,
        policy,
        spec,
        settings,
        ticket,
        layer,
        thoughts,
        messages,
        patience_s=destination.patience_s,
        hush_s=destination.hush_s,
    )


def _placed_far(
    call: Call, surface: Surface, settings: Settings, document: Document, destination: Destination, far: Far
) -> Job:
    """Whoever serves it there looks after calls, formats and thoughts by itself."""
    policy = call.gateway.settled().far_policy(destination.resolution)
    changes = filtered(document.values, policy, "max_tokens", surface.generates).changes
    ticket = FarTicket(far, destination.spec, is_stream=call.exchange.stream)
    call.exchange.node = far.name
    decided(call, destination, chosen_far(destination.resolution, is_cloud=far.is_cloud))
    return Job(
        call,
        surface,
        document,
        changes,
        policy,
        destination.spec,
        settings,
        ticket,
        far=far,
        hush_s=destination.hush_s,
    )


def _layer(call: Call, values: Mapping[str, Any], policy: BodyPolicy, spec: ModelSpec) -> Layer | None:
    """What there is to do about tools and formats; None for a request without either. Raises RoostError."""
    if "tools" in values or policy.requires_tools:
        verdict = call.gateway.deps.verdict(spec)
        call.exchange.verdict = verdict.word if verdict else UNVERIFIED
        policy = policy.by_verdict(verdict.tools if verdict else None)
    ask = ask_of(values, call.request.headers.get(HEADER), policy.tools)
    if ask is None:
        return None
    return Layer(ask, call.exchange, spec.id, spec.chat_template, Second.of(policy, values))


def _messages(call: Call, document: Document, policy: BodyPolicy) -> Written | None:
    """The messages with calls in them that engines can read; None: as the client sent them. Raises InvalidType."""
    if not history.has_calls(document.values["messages"]):
        return None
    if mode_of(call.request.headers.get(HEADER), policy.tools)[0] is Mode.OFF:
        return None
    mended = history.mended(document)
    if mended is None:
        return None
    call.exchange.history = str(mended)
    return mended.messages


def _entry(call: Call, settings: Settings, values: Mapping[str, Any], prompt_bytes: int) -> Entry:
    return Entry(
        call.exchange.request_id,
        request_class=request_class(call),
        prompt_bytes=prompt_bytes,
        max_tokens=_most_tokens(values),
        wait_for_load=settings.load.wait,
    )


def request_class(call: Call) -> str:
    """`batch` if the request says so, else interactive."""
    return "batch" if call.request.headers.get("x-roost-class") == "batch" else "interactive"


def _most_tokens(values: Mapping[str, Any]) -> int | None:
    """The reply's limit as asked; a value of another type is the engine's to refuse."""
    asked = values.get("max_completion_tokens", values.get("max_tokens"))
    return asked if isinstance(asked, int) and asked > 0 else None


def route(call: Call, resolution: Resolution, ticket: Ticket, destination: Destination | None = None) -> None:
    """Choose where it runs, and keep the decision for whoever asks why."""
    progress = ticket.progress()
    waits = progress.phase in (Phase.QUEUED, Phase.STOPPING_OTHER)
    ready = progress.phase is Phase.READY or (waits and progress.resident)
    reason = choose(resolution, Standing(ready, displaces=waits)).reason
    decided(call, destination or Destination(resolution, call.gateway.spec(resolution)), reason)


def decided(call: Call, destination: Destination, reason: str) -> None:
    """Where it goes, and why, for the client and for whoever asks later."""
    exchange, resolution = call.exchange, destination.resolution
    if exchange.tried:
        reason = f"{reason}-{_instead(exchange.tried[-1])}"
    elif destination.is_kept:
        reason = f"{reason}-kept"
    exchange.reason = reason
    call.gateway.decisions.record(
        Decision(
            request_id=exchange.request_id,
            at=time.time(),
            requested=exchange.requested or resolution.requested,
            role=resolution.role,
            resolved=resolution.model_id,
            node=exchange.node,
            reason=reason,
            steps=destination.steps,
        )
    )


def _instead(failed: str) -> str:
    """Why the candidate before did not serve."""
    return "spillover" if failed.endswith(f"={ConcurrencyLimit.code}") else "fallback"

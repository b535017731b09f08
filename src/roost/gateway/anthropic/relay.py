"""Messages to a provider that speaks them: bytes in, bytes out. Marks for its cache, signatures of thoughts and all
else that it knows reach it as they were sent, which no translation there and back would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from roost.config.settings import Settings
from roost.errors import InternalError, MissingParameter
from roost.gateway.anthropic.stream import message_stream
from roost.gateway.call import Call
from roost.gateway.destinations import CLOUD, Destination
from roost.gateway.document import Document
from roost.gateway.far import Far, FarTicket
from roost.gateway.fields import check_bounds
from roost.gateway.filters import filtered
from roost.gateway.inference import decided
from roost.gateway.job import Job, read_up_to
from roost.gateway.sse import StreamRewriter
from roost.gateway.streaming import stream_answer
from roost.gateway.surfaces import MESSAGES
from roost.gateway.whole import send_json
from roost.routing.choose import chosen_far
from roost.workers.types import ReadyWorker

_LARGEST_ANSWER_BYTES = 32 * 2**20


def speaks_messages(destination: Destination, settings: Settings) -> bool:
    """Whether the place is a provider of this protocol."""
    if destination.far is None or not destination.far.is_cloud:
        return False
    cloud = settings.clouds.get(destination.far.name.removeprefix(CLOUD))
    return cloud is not None and cloud.kind == "anthropic"


async def relayed(call: Call, settings: Settings, document: Document, destination: Destination) -> web.StreamResponse:
    """The provider's own answer. Raises RoostError."""
    assert destination.far is not None
    job = _job(call, settings, document, destination, destination.far)
    try:
        if job.streams:
            return await stream_answer(job, message_stream(job, {}), lambda: PassedEvents(job.model_id))
        return await send_json(job, await job.run(lambda worker: _whole(job, worker), job.ticket.worker))
    finally:
        job.ticket.leave()


def _job(call: Call, settings: Settings, document: Document, destination: Destination, far: Far) -> Job:
    values, exchange = document.values, call.exchange
    if not isinstance(values.get("messages"), list):
        raise MissingParameter("`messages` must be an array of messages", param="messages")
    check_bounds(values)
    exchange.resolution, exchange.node = destination.resolution, far.name
    exchange.stream = values.get("stream") is True
    policy = call.gateway.settled().far_policy(destination.resolution)
    changes = filtered(values, policy, "max_tokens", generates=True).changes
    decided(call, destination, chosen_far(destination.resolution, is_cloud=True))
    ticket = FarTicket(far, destination.spec, is_stream=exchange.stream)
    spec, hush_s = destination.spec, destination.hush_s
    return Job(call, MESSAGES, document, changes, policy, spec, settings, ticket, far=far, hush_s=hush_s)


async def _whole(job: Job, worker: ReadyWorker) -> bytes:
    response = await job.send(worker, job.body(worker), streams=False)
    try:
        body = await read_up_to(response, _LARGEST_ANSWER_BYTES)
    except BaseException:
        response.close()
        raise
    response.release()
    try:
        said = json.loads(body)
        counted = openai_usage(said.get("usage"))
        job.call.exchange.finish_reason = said.get("stop_reason")
    except (ValueError, AttributeError, RecursionError):
        raise InternalError(f"{worker.worker_id} answered something that is not a message") from None
    job.call.exchange.count(counted, None)
    return body


class PassedEvents(StreamRewriter):
    """Passes events on as they are, and reads what they say of the whole."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self._usage: dict[str, Any] = {}

    def rewrite(self, event: bytes) -> bytes:
        facts = self.facts
        if facts.over:
            return b""
        facts.chunks += event.startswith((b"event: content", b"data: "))
        self._read(event)
        return b"" if facts.done_event is not None or facts.error is not None or facts.broken is not None else event

    def _read(self, event: bytes) -> None:
        facts, data = self.facts, event.partition(b"data:")[2]
        if not data.strip():
            return
        try:
            said = json.loads(data)
            kind = said.get("type")
        except (ValueError, AttributeError, RecursionError):
            facts.broken = "the provider sent an event that is not JSON"
            return
        if kind == "message_start":
            facts.opened.add(0)
            self._count(said.get("message", {}).get("usage"))
        elif kind == "message_delta":
            facts.finish_reason = said.get("delta", {}).get("stop_reason") or facts.finish_reason
            self._count(said.get("usage"))
        elif kind == "message_stop":
            facts.finished.add(0)
            facts.done_event = event
        elif kind == "error":
            error = said.get("error")
            facts.error = {"error": error if isinstance(error, dict) else {"message": "the provider broke off"}}

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            self.facts.usage = openai_usage(self._usage)


def openai_usage(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Anthropic's counts as OpenAI's: what came from the cache is part of the prompt there."""
    told = usage or {}
    cached = told.get("cache_read_input_tokens") or 0
    prompt = (told.get("input_tokens") or 0) + cached + (told.get("cache_creation_input_tokens") or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": told.get("output_tokens") or 0,
        "prompt_tokens_details": {"cached_tokens": cached},
    }

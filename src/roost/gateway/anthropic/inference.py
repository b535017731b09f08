"""/v1/messages and its counting of tokens: translated, then on the way of every other request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from roost.config.settings import Settings
from roost.errors import InternalError, NotOffered
from roost.gateway.anthropic.answers import BAD_CALL, usage, whole_message
from roost.gateway.anthropic.relay import relayed, speaks_messages
from roost.gateway.anthropic.requests import Translated, from_messages
from roost.gateway.anthropic.stream import EventRewriter, message_stream
from roost.gateway.attempts import first_that_serves
from roost.gateway.call import Call
from roost.gateway.destinations import Destination
from roost.gateway.exchange import header_value, shown_name
from roost.gateway.inference import place, read_document
from roost.gateway.job import Job
from roost.gateway.splice import compose
from roost.gateway.streaming import stream_answer
from roost.gateway.surfaces import CHAT
from roost.gateway.whole import held_answer, send_json
from roost.toolcalls.thoughts import switch_of
from roost.workers.types import ReadyWorker


async def messages(call: Call) -> web.StreamResponse:
    """A turn of a conversation."""
    settings = call.gateway.deps.settings()
    document = await read_document(call, settings)
    asked = document.values

    async def serve(destination: Destination) -> web.StreamResponse:
        if speaks_messages(destination, settings):
            return await relayed(call, settings, document, destination)
        translated = _translated(destination, asked, document.text_of("tools"))
        job = _placed(call, settings, translated, destination)
        headers = _headers(translated)
        try:
            if not job.streams:
                return await _whole(job, headers)
            return await stream_answer(
                job, message_stream(job, headers), lambda: EventRewriter(call.exchange, job.model_id)
            )
        finally:
            job.ticket.leave()

    return await first_that_serves(call, CHAT, settings, document, serve)


async def count_tokens(call: Call) -> web.StreamResponse:
    """Tokens of a turn's prompt after the model's template, counted by its worker; loads the model if it must."""
    settings = call.gateway.deps.settings()
    document = await read_document(call, settings)
    asked = {**document.values, "stream": False}

    async def serve(destination: Destination) -> web.StreamResponse:
        translated = _translated(destination, asked, document.text_of("tools"))
        job = _placed(call, settings, translated, destination)
        try:
            count = await job.run(lambda worker: _counted(job, worker), job.ticket.worker)
            return await send_json(job, json.dumps({"input_tokens": count}).encode(), _headers(translated))
        finally:
            job.ticket.leave()

    return await first_that_serves(call, CHAT, settings, document, serve)


async def _counted(job: Job, worker: ReadyWorker) -> int:
    count = await worker.count_prompt_tokens(CHAT.path, job.body(worker))
    if count is None:
        raise NotOffered(
            f"cannot count tokens: the engine of {job.model_id} ({worker.engine}) does not tell; read them in the "
            "`usage` of an answer",
            param="model",
        )
    return count


def _translated(destination: Destination, asked: Mapping[str, Any], tools_text: str | None) -> Translated:
    """In the words that its model understands. Raises RoostError."""
    spec = destination.spec
    can_stop = switch_of(spec.chat_template or "", "none") is not None
    thinks = "thinking" in spec.capabilities
    return from_messages(asked, thinks=thinks, can_stop_thinking=can_stop, tools_text=tools_text)


def _placed(call: Call, settings: Settings, translated: Translated, destination: Destination) -> Job:
    job = place(call, CHAT, settings, compose(translated.body, translated.texts), destination)
    if job.thoughts is not None and translated.thinking_budget is not None:
        # As a setting, not as a demand: an engine that knows no such limit serves all the same.
        job.thoughts.budget = translated.thinking_budget
    return job


def _headers(translated: Translated) -> dict[str, str]:
    left_out = shown_name(", ".join(translated.ignored))
    return {"x-roost-ignored": header_value(left_out)} if left_out else {}


async def _whole(job: Job, headers: Mapping[str, str]) -> web.StreamResponse:
    with job.call.gateway.held.hold(job.model_id) as hold:
        values = await held_answer(job, hold)
        exchange = job.call.exchange
        used = usage(exchange.prompt_tokens, exchange.cached_tokens, exchange.completion_tokens)
        try:
            said = whole_message(values, job.model_id, used)
        except ValueError:
            exchange.cause = BAD_CALL
            raise InternalError(f"{BAD_CALL}; ask again, or choose a model that is verified for tools") from None
        return await send_json(job, json.dumps(said, ensure_ascii=False).encode("utf-8", "backslashreplace"), headers)

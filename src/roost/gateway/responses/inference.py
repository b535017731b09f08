"""/v1/responses: translated, then on the way of every other request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from roost.gateway.attempts import first_that_serves
from roost.gateway.call import Call
from roost.gateway.destinations import Destination
from roost.gateway.exchange import header_value, shown_name
from roost.gateway.inference import place, read_document
from roost.gateway.job import Job
from roost.gateway.responses.answers import begun_response, ended_response, output_of, usage
from roost.gateway.responses.requests import Translated, from_response
from roost.gateway.responses.stream import ResponseRewriter, Told, response_stream
from roost.gateway.splice import compose
from roost.gateway.streaming import stream_answer
from roost.gateway.surfaces import CHAT
from roost.gateway.whole import held_answer, send_json
from roost.toolcalls.thoughts import switch_of


async def responses(call: Call) -> web.StreamResponse:
    """A turn of a conversation, which the client sends whole."""
    settings = call.gateway.deps.settings()
    document = await read_document(call, settings)
    asked = document.values

    async def serve(destination: Destination) -> web.StreamResponse:
        translated = _translated(destination, asked, document.text_of("tools"))
        job = place(call, CHAT, settings, compose(translated.body, translated.texts), destination)
        left_out = shown_name(", ".join(translated.ignored))
        headers = {"x-roost-ignored": header_value(left_out)} if left_out else {}
        begun = begun_response(asked, f"resp_{call.exchange.request_id.removeprefix('req-')}", job.model_id)
        try:
            if not job.streams:
                return await _whole(job, begun, headers)
            told = Told(begun)

            def rewriter() -> ResponseRewriter:
                # Which model answers is certain only once it does.
                told.response = {**told.response, "model": job.model_id}
                return ResponseRewriter(call.exchange, told, job.model_id)

            return await stream_answer(job, response_stream(job, told, headers), rewriter)
        finally:
            job.ticket.leave()

    return await first_that_serves(call, CHAT, settings, document, serve)


def _translated(destination: Destination, asked: Mapping[str, Any], tools_text: str | None) -> Translated:
    """In the words that its model understands. Raises RoostError."""
    spec = destination.spec
    can_stop = switch_of(spec.chat_template or "", "none") is not None
    thinks = "thinking" in spec.capabilities
    return from_response(asked, thinks=thinks, can_stop_thinking=can_stop, tools_text=tools_text)


async def _whole(job: Job, begun: Mapping[str, Any], headers: Mapping[str, str]) -> web.StreamResponse:
    with job.call.gateway.held.hold(job.model_id) as hold:
        values = await held_answer(job, hold)
        exchange = job.call.exchange
        used = usage(exchange.prompt_tokens, exchange.cached_tokens, exchange.completion_tokens)
        begun = {**begun, "model": job.model_id}
        said = ended_response(begun, output_of(values, begun["id"]), exchange.finish_reason, used)
        return await send_json(job, json.dumps(said, ensure_ascii=False).encode("utf-8", "backslashreplace"), headers)

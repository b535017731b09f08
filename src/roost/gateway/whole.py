"""Answers that are not streams: the body as it came but for `model`, or assembled from a stream."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from aiohttp import web

from roost.errors import InternalError, InvalidJson
from roost.gateway.assemble import Assembler
from roost.gateway.job import LARGEST_ANSWER_BYTES, Job, read_up_to
from roost.gateway.splice import rename_model
from roost.gateway.sse import EventBuffer, StreamRewriter
from roost.workers.types import ReadyWorker


async def whole_answer(job: Job) -> web.StreamResponse:
    """One JSON answer, every byte the engine's own but the value of `model`."""
    body, content_type = await job.run(lambda worker: _attempt(job, worker), job.ticket.worker)
    exchange = job.call.exchange
    exchange.first_byte()
    exchange.bytes_out = len(body)
    return web.Response(body=body, headers={**exchange.headers(), "Content-Type": content_type})


async def _attempt(job: Job, worker: ReadyWorker) -> tuple[bytes, str]:
    if job.surface.generates and not worker.traits.cancels_non_stream:
        return await _assembled(job, worker), "application/json"
    response = await job.send(worker, job.body(worker), streams=False)
    return await _as_it_came(job, response)


async def _as_it_came(job: Job, response: aiohttp.ClientResponse) -> tuple[bytes, str]:
    try:
        body = await read_up_to(response, LARGEST_ANSWER_BYTES)
    except BaseException:
        response.close()
        raise
    response.release()
    return _named(job, body), response.headers.get("Content-Type", "application/json")


def _named(job: Job, body: bytes) -> bytes:
    """The answer under its physical id; its usage goes into the row."""
    try:
        text = body.decode()
        values = json.loads(text)
        if isinstance(values, dict):
            _count(job, values)
            return rename_model(text, values, job.model_id)
    except (InvalidJson, ValueError, RecursionError):
        values = None
    # A bare list is a rerank answer of some engines; anything else is no answer of an OpenAI server.
    if isinstance(values, list):
        return body
    raise InternalError(f"the engine of {job.model_id} answered something that is not a JSON object")


def _count(job: Job, values: dict[str, Any]) -> None:
    exchange = job.call.exchange
    exchange.count(_object(values.get("usage")), _object(values.get("timings")))
    choices = values.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        reason = choices[0].get("finish_reason")
        exchange.finish_reason = reason if isinstance(reason, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


async def _assembled(job: Job, worker: ReadyWorker) -> bytes:
    """Ask for a stream, so that a client that leaves stops the engine, and answer as if it had not been one."""
    options = _object(job.document.values.get("stream_options")) or {}
    body = job.body(worker, stream=True, stream_options={**options, "include_usage": True})
    response = await job.send(worker, body, streams=True)
    assembler = Assembler()
    rewriter = StreamRewriter(job.model_id, each=assembler.add)
    try:
        await _drain(job, response, rewriter)
    finally:
        response.close()
    facts = rewriter.facts
    job.call.exchange.count(facts.usage, facts.timings)
    job.call.exchange.finish_reason = facts.finish_reason
    return json.dumps(assembler.answer() | {"model": job.model_id}, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


async def _drain(job: Job, response: aiohttp.ClientResponse, rewriter: StreamRewriter) -> None:
    """Read the stream to its end. Raises the RoostError of an error frame or of an end without an ending."""
    buffer = EventBuffer()
    facts = rewriter.facts
    while facts.done_event is None and (data := await response.content.readany()):
        job.answering = True
        before = facts.chunks
        for event in buffer.feed(data):
            rewriter.rewrite(event)
        job.check_stream(facts)
        if facts.chunks > before:
            job.ticket.beat(facts.chunks - before)
        elif facts.done_event is None:
            job.check_progress()
    if facts.done_event is None or not facts.complete:
        raise job.lost()

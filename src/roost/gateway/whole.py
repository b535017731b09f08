"""Answers that are not streams: the body as it came but for `model`, or assembled from a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiohttp import web

from roost.errors import InternalError, InvalidJson, RoostError
from roost.gateway.assemble import Assembler
from roost.gateway.client_stream import ClientStream, send_in_pieces
from roost.gateway.dimensions import check_dimensions
from roost.gateway.held import MOST_RELAYED_BYTES, Hold, too_large
from roost.gateway.job import BROKEN, Job, count_streamed
from roost.gateway.large_json import LargeJson
from roost.gateway.splice import rename_model
from roost.gateway.sse import EventBuffer, StreamRewriter
from roost.gateway.tools.again import summed
from roost.gateway.tools.layer import Layer
from roost.gateway.tools.whole import settle
from roost.toolcalls.values import Refusal
from roost.workers.types import Posted, ReadyWorker

#: A longer answer is not held: decoding it would keep all other requests waiting.
_SMALL_BYTES = 2**20


@dataclass(frozen=True)
class Large:
    """An answer that goes on after what has come of it."""

    response: Posted
    head: bytes


async def whole_answer(job: Job) -> web.StreamResponse:
    """One JSON answer, every byte the engine's own but the value of `model`."""
    with job.call.gateway.held.hold(job.model_id) as hold:
        answer = await job.run(lambda worker: _attempt(job, worker, hold), job.ticket.worker)
        if asked := job.document.values.get("dimensions"):
            answer = await _all(job, answer, hold)
            check_dimensions(asked, json.loads(answer), job.model_id)
        if job.layer is not None or job.thoughts is not None:
            answer = await _settled(job, await _all(job, answer, hold), hold)
        if isinstance(answer, Large):
            return await _relay(job, answer)
        return await send_json(job, answer)


async def _all(job: Job, answer: bytes | Large, hold: Hold) -> bytes:
    return answer if isinstance(answer, bytes) else _named(job, await _rest(job, answer, hold))


def _settle(job: Job, values: dict[str, Any]) -> bool:
    """Thoughts and calls put where clients look for them; whether anything was done. Raises RoostError."""
    split = job.thoughts is not None and job.thoughts.settle(values)
    return (job.layer is not None and settle(job.layer, values)) or split


async def _settled(job: Job, answer: bytes, hold: Hold) -> bytes:
    """The answer with its calls; as it came when nothing was to be done. Raises RoostError."""
    values = json.loads(answer)
    if not isinstance(values, dict):
        return answer
    better = await _better(job, values, hold)
    if better is None:
        return answer
    return json.dumps(better, ensure_ascii=False).encode("utf-8", "backslashreplace")


async def _better(job: Job, values: dict[str, Any], hold: Hold) -> dict[str, Any] | None:
    """The answer with its calls, or another one when it had to be asked for again. None: nothing was to be done.
    Raises RoostError."""
    changed = _settle(job, values)
    layer = job.layer
    if layer is not None and layer.refusal is not None:
        values, changed = await _asked_again(job, values, layer, layer.refusal, hold), True
    _note_finish(job, values)
    return values if changed else None


async def _asked_again(job: Job, first: dict[str, Any], layer: Layer, refusal: Refusal, hold: Hold) -> dict[str, Any]:
    """The better of two answers, with the tokens of both."""
    exchange = job.call.exchange
    before = exchange.take_counts()
    second = await job.again(layer, refusal, lambda worker: _second(job, worker, hold))
    exchange.add_counts(before)
    usage = summed(first.get("usage"), second.get("usage") if second is not None else None)
    chosen = second if second is not None and _is_better(job, second) else first
    if chosen is first:
        job.layer = layer.in_vain(refusal)
        _settle(job, first)
    return chosen if usage is None else {**chosen, "usage": usage}


async def _second(job: Job, worker: ReadyWorker, hold: Hold) -> dict[str, Any]:
    values = json.loads(await _all(job, await _attempt(job, worker, hold), hold))
    if not isinstance(values, dict):
        raise _nonsense(job)
    return values


def _is_better(job: Job, values: dict[str, Any]) -> bool:
    """Whether this answer is one to tell; its calls are put where clients look for them."""
    try:
        _settle(job, values)
    except RoostError:
        return False
    return job.layer is not None and job.layer.is_sound


async def send_json(job: Job, body: bytes, more: Mapping[str, str] = MappingProxyType({})) -> web.StreamResponse:
    """The answer to the client, whole; a long one piece by piece."""
    exchange = job.call.exchange
    if len(body) > _SMALL_BYTES:
        return await send_in_pieces(job.call.request, exchange, _client(job, more), body)
    exchange.first_byte()
    exchange.bytes_out = len(body)
    return web.Response(body=body, headers={**exchange.headers(), **more}, content_type="application/json")


async def held_answer(job: Job, hold: Hold) -> dict[str, Any]:
    """The same decoded, for who says it in another shape. Raises RoostError, for what is no JSON object too."""
    answer = await job.run(lambda worker: _attempt(job, worker, hold), job.ticket.worker)
    values = json.loads(await _all(job, answer, hold))
    if not isinstance(values, dict):
        raise _nonsense(job)
    check_dimensions(job.document.values.get("dimensions"), values, job.model_id)
    return await _better(job, values, hold) or values


async def _attempt(job: Job, worker: ReadyWorker, hold: Hold) -> bytes | Large:
    if job.surface.generates and not worker.traits.cancels_non_stream:
        return await _assembled(job, worker, hold)
    response = await job.send(worker, job.body(worker), streams=False)
    try:
        if (response.content_length or 0) > MOST_RELAYED_BYTES:
            raise too_large(job.model_id, MOST_RELAYED_BYTES)
        body = await _read_small(response)
    except BaseException:
        response.close()
        raise
    if not response.content.at_eof():
        job.answering = True
        return Large(response, body)
    response.release()
    return _named(job, body)


async def _read_small(response: Posted) -> bytes:
    """The body, or as much of it as a small one may have."""
    pieces: list[bytes] = []
    size = 0
    while size <= _SMALL_BYTES and (piece := await response.content.readany()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _client(job: Job, more: Mapping[str, str] = MappingProxyType({})) -> ClientStream:
    exchange = job.call.exchange
    response = web.StreamResponse(headers={**exchange.headers(), **more, "Content-Type": "application/json"})
    out = ClientStream(job.call.request, exchange, response, job.settings.gateway.write_deadline_s)
    out.while_blocked = lambda: job.ticket.beat(0)
    return out


async def _pieces(job: Job, large: Large) -> AsyncGenerator[bytes, None]:
    """The whole of a large answer as it comes. Raises the RoostError of its end before the end."""
    data = large.head
    while data:
        job.ticket.beat()
        yield data
        try:
            data = await large.response.content.readany()
        except BROKEN as error:
            raise job.lost() from error


async def _relay(job: Job, large: Large) -> web.StreamResponse:
    """Passes a large answer on without holding it; only its name is changed, and its end is looked for."""
    exchange, out, passing, size = job.call.exchange, _client(job), LargeJson(job.model_id), 0
    try:
        if large.head.lstrip()[:1] not in (b"{", b"["):
            raise _nonsense(job)
        async with aclosing(_pieces(job, large)) as pieces:
            async for data in pieces:
                size += len(data)
                if size > MOST_RELAYED_BYTES:
                    raise too_large(job.model_id, MOST_RELAYED_BYTES)
                exchange.first_byte()
                await out.write(passing.feed(data))
        if not passing.complete:
            raise job.lost()
    except RoostError as failure:
        raise out.broken(failure) from failure
    finally:
        large.response.close()
        exchange.count(passing.fact("usage"), passing.fact("timings"))
    exchange.told_all = True
    await out.end()
    return out.response


async def _rest(job: Job, large: Large, hold: Hold) -> bytes:
    """A large answer that has to be held, within what may be."""
    held: list[bytes] = []
    try:
        async with aclosing(_pieces(job, large)) as pieces:
            async for data in pieces:
                hold.grow(len(data))
                held.append(data)
    finally:
        large.response.close()
    return b"".join(held)


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
    raise _nonsense(job)


def _nonsense(job: Job) -> RoostError:
    return InternalError(f"the engine of {job.model_id} answered something that is not a JSON object")


def _count(job: Job, values: dict[str, Any]) -> None:
    job.call.exchange.count(_object(values.get("usage")), _object(values.get("timings")))
    _note_finish(job, values)


def _note_finish(job: Job, values: dict[str, Any]) -> None:
    choices = values.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        reason = choices[0].get("finish_reason")
        job.call.exchange.finish_reason = reason if isinstance(reason, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


async def _assembled(job: Job, worker: ReadyWorker, hold: Hold) -> bytes:
    """Ask for a stream, so that a client that leaves stops the engine, and answer as if it had not been one."""
    options = _object(job.document.values.get("stream_options")) or {}
    body = job.body(worker, stream=True, stream_options={**options, "include_usage": True})
    response = await job.send(worker, body, streams=True)
    assembler = Assembler()
    rewriter = StreamRewriter(job.model_id, each=assembler.add)
    try:
        await drain(job, response, rewriter, hold)
    finally:
        response.close()
    count_streamed(job, rewriter.facts)
    return json.dumps(assembler.answer() | {"model": job.model_id}, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


async def drain(job: Job, response: Posted, rewriter: StreamRewriter, hold: Hold) -> None:
    """Read the stream to its end. Raises the RoostError of an error frame or of an end without an ending."""
    buffer = EventBuffer()
    facts = rewriter.facts
    while facts.done_event is None and (data := await response.content.readany()):
        job.answering = True
        hold.grow(len(data))
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

"""Streams, event by event: relayed as they come, ended in exactly one legal way.

The three endings: finish_reason and `[DONE]`, an error frame, an aborted connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import web

from roost.errors import RoostError
from roost.gateway.client_stream import ClientStream, event_stream
from roost.gateway.job import BROKEN, TAIL_S, Job, count_streamed, read_tail
from roost.gateway.second import Answer, First, tell_better
from roost.gateway.sse import EventBuffer, StreamRewriter
from roost.gateway.stages import Stage, Staged, Withheld, stages_of
from roost.workers.types import Posted, ReadyWorker


@dataclass(frozen=True)
class Upstream:
    """A stream whose first bytes have come."""

    response: Posted
    first: bytes


async def stream_answer(
    job: Job, client: ClientStream | None = None, new_rewriter: Callable[[], StreamRewriter] | None = None
) -> web.StreamResponse:
    """Relay one stream. Raises the RoostError while the status can still tell it; later it is the last frame.

    Another protocol than OpenAI's brings its own `client` end and rewriters.
    """
    exchange, settings = job.call.exchange, job.settings.gateway
    out = client or ClientStream(
        job.call.request, exchange, event_stream(exchange.headers()), settings.write_deadline_s
    )
    out.while_blocked = lambda: job.ticket.beat(0)
    failure: RoostError | ConnectionError | None = None
    async with asyncio.TaskGroup() as group:
        heart = group.create_task(
            out.heartbeat_when_silent(settings.heartbeat_s, lambda: job.ticket.progress().comment(), job.hush_s)
        )
        try:
            await _relay(job, out, new_rewriter or job.rewriter)
        except (RoostError, ConnectionError) as error:
            # Raised once the group is over: it would wrap it.
            failure = error
        finally:
            heart.cancel()
    if failure is None:
        return out.response
    if isinstance(failure, ConnectionError) or not out.begun:
        raise failure
    exchange.error = failure
    await out.fail(failure)
    return out.response


async def _relay(job: Job, out: ClientStream, new_rewriter: Callable[[], StreamRewriter]) -> None:
    upstream = await job.run(lambda worker: _attempt(job, worker), job.ticket.worker)
    if job.far is not None and not out.begun:
        # Who has answered is known for certain only now.
        out.response.headers.update(job.call.exchange.headers())
    rewriter, stages, first = new_rewriter(), stages_of(job), None
    try:
        if not stages:
            await _pump(job, upstream, rewriter, out, rewriter)
        else:
            first = await _pump_staged(job, upstream, rewriter, out, stages)
        if first is None:
            await out.end()
            await read_tail(upstream.response, TAIL_S)
    finally:
        upstream.response.close()
        count_streamed(job, rewriter.facts, stages[0].chunks if stages else None)
    if first is not None:
        await tell_better(job, out, first, new_rewriter)
        await out.end()


async def _attempt(job: Job, worker: ReadyWorker) -> Upstream:
    response = await job.send(worker, job.body(worker), streams=True)
    try:
        first = await response.content.readany()
    except BaseException:
        response.close()
        raise
    if not first:
        response.close()
        raise aiohttp.ServerDisconnectedError("the engine ended its answer before the first byte")
    job.answering = True
    return Upstream(response, first)


async def _pump_staged(
    job: Job, upstream: Upstream, rewriter: StreamRewriter, out: ClientStream, stages: list[Stage]
) -> First | None:
    """The same by way of the stages. What waits when the stream breaks goes out before the error.

    An answer is returned instead of told when the model is to be asked again.
    """
    layer = job.layer
    withheld = Withheld(stages, rewriter, out, layer) if layer is not None and layer.asks_again else None
    staged = withheld or Staged(stages, rewriter)
    try:
        await _pump(job, upstream, rewriter, withheld or out, staged)
    except RoostError:
        if out.begun and withheld is not None:
            await withheld.release()
        if out.begun and (rest := staged.flush()):
            await out.write(rest)
        raise
    finally:
        if layer is not None:
            layer.told()
    if layer is None or withheld is None or withheld.refusal is None:
        return None
    return First(Answer(withheld.events, rewriter.facts), layer, withheld.refusal)


class _Sink(Protocol):
    async def write(self, data: bytes) -> None: ...


class _Counter(Protocol):
    @property
    def chunks(self) -> int: ...


class _Rewrites(Protocol):
    """What turns the engine's events into the client's."""

    @property
    def counter(self) -> _Counter:
        """Counts the chunks that came, sent on or not."""
        ...

    def rewrite(self, event: bytes) -> bytes: ...


async def _pump(job: Job, upstream: Upstream, rewriter: StreamRewriter, out: _Sink, rewrites: _Rewrites) -> None:
    """Events in, events out, until `[DONE]`. Raises RoostError for every other end of the body."""
    buffer, facts, exchange = EventBuffer(), rewriter.facts, job.call.exchange
    data, came = upstream.first, rewrites.counter
    while data and facts.done_event is None:
        before = came.chunks
        events = [rewrites.rewrite(event) for event in buffer.feed(data)]
        if came.chunks > before:
            job.ticket.beat(came.chunks - before)
        if facts.done_event is not None and facts.complete:
            events.append(facts.done_event)
        if piece := b"".join(events):
            if facts.chunks:
                exchange.first_byte()
            await out.write(piece)
            exchange.told_all = facts.done_event is not None and facts.complete
        job.check_stream(facts)
        if facts.done_event is None:
            if came.chunks == before:
                job.check_progress()
            data = await _next(job, upstream.response)
    if facts.done_event is None or not facts.complete:
        raise job.lost()


async def _next(job: Job, response: Posted) -> bytes:
    try:
        return await response.content.readany()
    except BROKEN as error:
        raise job.lost() from error

"""The second answer to a streamed request whose first one was a call that may not be made: read to its end, then told
as a whole, because only then it is known to be better. Heartbeats go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from roost.errors import RoostError
from roost.gateway.client_stream import ClientStream
from roost.gateway.held import Hold
from roost.gateway.job import Job
from roost.gateway.sse import StreamFacts, StreamRewriter
from roost.gateway.stages import Staged, stages_of
from roost.gateway.tools.again import with_usage
from roost.gateway.tools.layer import Layer
from roost.gateway.whole import drain
from roost.toolcalls.values import Refusal
from roost.workers.types import ReadyWorker

#: All events of an answer are there at once: after so many of them other requests have their turn.
_EVENTS_AT_ONCE = 128


@dataclass(frozen=True)
class Answer:
    """The events of one answer, to its `[DONE]`, and what they said."""

    events: list[bytes]
    facts: StreamFacts


@dataclass(frozen=True)
class First:
    """An answer that nothing was told of yet, because of a call in it that may not be made."""

    answer: Answer
    layer: Layer
    refusal: Refusal


class _Recorder(StreamRewriter):
    """Keeps the events as they come."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self.events: list[bytes] = []

    def rewrite(self, event: bytes) -> bytes:
        self.events.append(event)
        return super().rewrite(event)


async def tell_better(job: Job, out: ClientStream, first: First, new_rewriter: Callable[[], StreamRewriter]) -> None:
    """Ask again and send the better of both answers, with the tokens of both."""
    exchange = job.call.exchange
    exchange.told_all, exchange.ttft_s = False, None
    with job.call.gateway.held.hold(job.model_id) as hold:
        said = await _better(job, first, hold, new_rewriter)
        exchange.first_byte()
        await out.write(said)
    exchange.told_all = True


async def _better(job: Job, first: First, hold: Hold, new_rewriter: Callable[[], StreamRewriter]) -> bytes:
    """The second answer, or the first one, for the client."""
    exchange = job.call.exchange
    before = exchange.take_counts()
    second = await job.again(first.layer, first.refusal, lambda worker: _answer(job, worker, hold))
    usage = second.facts.usage if second is not None else None
    said = await _told(job, second, first.answer, new_rewriter()) if second is not None else None
    if said is None:
        job.layer = first.layer.in_vain(first.refusal)
        said = await _played(job, with_usage(first.answer.events, usage), new_rewriter())
    # Some rewriters count what they tell.
    exchange.take_counts()
    if second is not None:
        exchange.count(usage, second.facts.timings)
    exchange.add_counts(before)
    return said


async def _answer(job: Job, worker: ReadyWorker, hold: Hold) -> Answer:
    response = await job.send(worker, job.body(worker), streams=True)
    recorder = _Recorder(job.model_id)
    try:
        await drain(job, response, recorder, hold)
    finally:
        response.close()
    return Answer(recorder.events, recorder.facts)


async def _told(job: Job, second: Answer, first: Answer, rewriter: StreamRewriter) -> bytes | None:
    """The second answer for the client; None: it is no better."""
    try:
        said = await _played(job, with_usage(second.events, first.facts.usage), rewriter)
    except RoostError:
        return None
    return said if job.layer is not None and job.layer.is_sound else None


async def _played(job: Job, events: Iterable[bytes], rewriter: StreamRewriter) -> bytes:
    """A whole answer by way of the stages."""
    staged = Staged(stages_of(job), rewriter)
    pieces: list[bytes] = []
    for count, event in enumerate(events, 1):
        pieces.append(staged.rewrite(event))
        if count % _EVENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    job.check_stream(rewriter.facts)
    if rewriter.facts.done_event is None or not rewriter.facts.complete:
        raise job.lost()
    if job.layer is not None:
        job.layer.told()
    job.call.exchange.finish_reason = rewriter.facts.finish_reason
    return b"".join([*pieces, rewriter.facts.done_event])

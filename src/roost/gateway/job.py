"""One placed request and its worker: wait for it, send the body, try once more when it breaks before a byte came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from roost.catalog.spec import ModelSpec
from roost.config.settings import Settings
from roost.errors import ConcurrencyLimit, RoostError, UnusableAnswer, UpstreamDisconnected
from roost.gateway.call import Call
from roost.gateway.context import check_exactly
from roost.gateway.document import Document
from roost.gateway.exchange import header_value
from roost.gateway.far import Far, far_changes, lost_afar
from roost.gateway.far_errors import frame_afar, refused_afar
from roost.gateway.fields import prompt_texts
from roost.gateway.filters import BodyPolicy, filtered
from roost.gateway.splice import Written, apply, replace_model
from roost.gateway.sse import StreamFacts, StreamRewriter, UncountedRewriter
from roost.gateway.surfaces import Surface, check_engine
from roost.gateway.tools.again import with_note
from roost.gateway.tools.layer import Layer
from roost.gateway.tools.thoughts import Thoughts
from roost.gateway.upstream_errors import chatter, lost, translate, translate_frame
from roost.toolcalls.values import Refusal
from roost.workers.types import Posted, ReadyWorker, Ticket

T = TypeVar("T")

#: No clock ends a generation that makes progress: the pool's wedge watch ends one that does not.
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_read=None, sock_connect=10)
#: llama.cpp's server closes the connection behind each stream without having said so: kept for the next request, it
#: would break that one. A connection to a local worker costs less than finding out.
STREAM_HEADERS = {"Connection": "close"}
#: What a broken worker looks like from here.
BROKEN = (aiohttp.ClientError, OSError)
#: How long the engine gets to end a body whose `[DONE]` has come, before the connection is closed under it.
TAIL_S = 0.05
_LARGEST_ERROR_BYTES = 64 * 2**10
#: An engine that refuses has nothing to compute: the reasons come at once, or the status must do.
_ERROR_BODY_S = 5.0


@lru_cache(maxsize=64)
def worker_url(base_url: str, path: str) -> URL:
    """A worker's address of a path; the base may end in a slash."""
    return URL(f"{base_url.rstrip('/')}{path}", encoded=True)


@dataclass
class Job:
    """A request with a place in line. Only its handler touches it."""

    call: Call
    surface: Surface
    document: Document
    changes: dict[str, Any]
    policy: BodyPolicy
    spec: ModelSpec
    settings: Settings
    ticket: Ticket
    #: What the request demands of tool calls and formats; None: nothing, and nothing is looked at.
    layer: Layer | None = None
    #: The model is one that thinks.
    thoughts: Thoughts | None = None
    #: The messages in other words than the document's; None: these.
    messages: Written | None = None
    #: Where it goes when it leaves this machine; None: it stays.
    far: Far | None = None
    #: How long it waits for its turn while others could serve it; None: as long as it takes.
    patience_s: float | None = None
    #: How long a stream's client is told nothing, so that somebody else may still serve it.
    hush_s: float = 0.0
    #: Bytes of the answer have come from the worker: from now on nothing is tried again.
    answering: bool = field(default=False)

    @property
    def streams(self) -> bool:
        return self.call.exchange.stream

    @property
    def model_id(self) -> str:
        return self.spec.id

    async def run(
        self, attempt: Callable[[ReadyWorker], Awaitable[T]], wait: Callable[[], Awaitable[ReadyWorker]]
    ) -> T:
        """Wait for a worker and attempt; once more on a fresh one when it broke before its first byte.

        Raises the RoostError that the client is to see.
        """
        worker = await self._ready(wait)
        try:
            return await self._attempted(attempt, worker)
        except BROKEN as error:
            if self.answering or "stall" in self.ticket.why_lost() or not await self.ticket.failed(error):
                raise self.lost(error) from error
        self.call.exchange.cause = "retried on a fresh worker"
        worker = await self._ready(wait)
        try:
            return await self._attempted(attempt, worker)
        except BROKEN as error:
            raise self.lost(error) from error

    async def again(self, layer: Layer, refusal: Refusal, attempt: Callable[[ReadyWorker], Awaitable[T]]) -> T | None:
        """Ask the same worker once more, with a word on what was wrong. None: it failed. The first answer is still
        there, so that nothing is lost by it."""
        worker = self.call.exchange.worker
        if worker is None:
            return None
        self.layer = layer.again(refusal, worker)
        self.messages = with_note(self.document, self.messages, refusal)
        # The engine begins anew: its silence until now is not to its blame.
        self.ticket.beat(0)
        try:
            return await self._attempted(attempt, worker)
        except (RoostError, *BROKEN):
            return None

    async def _attempted(self, attempt: Callable[[ReadyWorker], Awaitable[T]], worker: ReadyWorker) -> T:
        """The attempt, broken off when the request is cancelled for memory in it."""
        revoked: list[RoostError] = []

        def revoke(error: RoostError) -> None:
            revoked.append(error)
            limit.reschedule(asyncio.get_running_loop().time())

        try:
            async with asyncio.timeout(None) as limit:
                self.ticket.on_revoked(revoke)
                try:
                    return await attempt(worker)
                finally:
                    self.ticket.on_revoked(None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise revoked[0] from None

    async def _ready(self, wait: Callable[[], Awaitable[ReadyWorker]]) -> ReadyWorker:
        exchange = self.call.exchange
        try:
            async with asyncio.timeout(self.patience_s) as limit:
                worker = exchange.worker = await wait()
        except TimeoutError:
            if not limit.expired():
                raise
            raise ConcurrencyLimit(
                f"{self.model_id} was busy for {self.patience_s:g} s (queue.max_wait_s)", retry_after_s=1
            ) from None
        if exchange.queued_s is None:
            exchange.queued_s = exchange.elapsed_s()
        check_engine(self.surface, worker)
        return worker

    def rewriter(self) -> StreamRewriter:
        """Of a stream that is relayed in OpenAI's words."""
        options = self.document.values.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        return StreamRewriter(self.model_id) if self.far is None or asked else UncountedRewriter(self.model_id)

    def check_progress(self) -> None:
        """Bytes of a stream have come, and no chunk in them. Raises UpstreamStalled when that goes on for too long."""
        if self.ticket.overdue():
            self.call.exchange.cause = "the engine sent comments and no token"
            raise chatter(self.model_id)

    def lost(self, error: Exception | None = None) -> RoostError:
        """The worker went away: what that is called, and the cause for the row."""
        if self.far is not None:
            self.call.exchange.cause = f"the connection to {self.far.name} broke"
            return lost_afar(self.far, error, self.answering)
        why = self.ticket.why_lost()
        if isinstance(error, aiohttp.ClientResponseError):
            # Not its message: that may repeat what the engine sent.
            why = "its answer is no proper HTTP"
        self.call.exchange.cause = why or "the connection to the worker broke"
        return lost(why, self.call.gateway.deps.draining(), self.answering, self.model_id)

    def body(self, worker: ReadyWorker, **more: Any) -> bytes:
        """The request's bytes for this worker: its own name spliced in, the filters' changes, everything else kept."""
        changes = self.changes
        if worker.traits.max_tokens_field != "max_tokens":
            field_name = worker.traits.max_tokens_field
            changes = filtered(self.document.values, self.policy, field_name, self.surface.generates).changes
        if self.thoughts is not None:
            changes = {**changes, **self.thoughts.changes(self.document.values, self.policy, worker)}
        if self.layer is not None:
            changes = {**changes, **self.layer.changes(self.document.values, worker)}
        if self.messages is not None and "messages" not in changes:
            changes = {**changes, "messages": self.messages}
        if self.far is not None and self.surface.generates and self.surface.is_openai:
            changes = {**changes, **far_changes(self.document.values, changes, worker.traits.max_tokens_field)}
        if not changes and not more and "model" in self.document.members:
            return replace_model(self.document, worker.served_name)
        return apply(self.document, {**changes, "model": worker.served_name, **more})

    async def send(self, worker: ReadyWorker, body: bytes, *, streams: bool) -> Posted:
        """Check the window where the worker counts, post the body. Raises RoostError for any answer but 200."""
        messages = self.document.values.get("messages")
        count = len(messages) if isinstance(messages, list) else 1
        await check_exactly(self.surface.path, body, count, worker, self.surface.param)
        self.call.exchange.is_asked = True
        response = await worker.wire.post(self.surface.path, body, keep=not streams or self.far is not None)
        if response.status != 200:
            raise await self._refusal(response)
        self._check_served(response)
        return response

    def _check_served(self, response: Posted) -> None:
        """A paired machine says which model answers. Raises UnusableAnswer for another one than it told to have; where
        it had told nothing yet, its word is what the answer is called by."""
        served = response.headers.get("x-roost-model")
        if self.far is None or self.far.is_cloud or served in (None, header_value(self.model_id)):
            return
        if self.spec.fingerprint:
            response.close()
            raise UnusableAnswer(
                f"{self.far.name} answered with another model than {self.model_id}, which it was asked for; nothing of "
                "it was passed on",
                should_retry=False,
            )
        self.spec = self.spec.model_copy(update={"id": str(served)})
        exchange = self.call.exchange
        if exchange.resolution is not None:
            exchange.resolution = replace(exchange.resolution, model_id=str(served))

    async def _refusal(self, response: Posted) -> RoostError:
        try:
            async with asyncio.timeout(_ERROR_BODY_S):
                body = await read_up_to(response, _LARGEST_ERROR_BYTES)
        except TimeoutError:
            body = b""
        finally:
            response.close()
        self.call.exchange.cause = f"the engine answered {response.status}"
        if self.far is not None:
            said = (response.status, response.headers, body)
            return refused_afar(self.far, self.model_id, *said, self.prompts(), self.surface.param)
        return translate(response.status, body, self.model_id, self.prompts(), self.surface.param)

    def check_stream(self, facts: StreamFacts) -> None:
        """Raises the RoostError of an error frame, or of an event that is none."""
        if facts.error is not None:
            self.call.exchange.cause = "the engine sent an error"
            if self.far is not None:
                raise frame_afar(self.far, self.model_id, facts.error, self.prompts(), self.surface.param)
            raise translate_frame(facts.error, self.model_id, self.prompts())
        if facts.broken is not None:
            self.call.exchange.cause = facts.broken
            raise UpstreamDisconnected(f"the stream of {self.model_id} was cut: {facts.broken}")

    def prompts(self) -> list[str]:
        """The prompt's texts, which no error message may repeat."""
        return prompt_texts(self.surface.name, self.document.values)


def count_streamed(job: Job, facts: StreamFacts, chunks: int | None = None) -> None:
    """What a stream has told so far; `chunks` that came, where `facts` has not seen all of them."""
    exchange = job.call.exchange
    exchange.count(facts.usage, facts.timings)
    exchange.finish_reason = facts.finish_reason
    came = facts.chunks if chunks is None else chunks
    if exchange.completion_tokens is None and came:
        # An engine that does not count sends a token a chunk, but for the first (role) and the last (reason).
        exchange.completion_tokens = max(0, came - 2)


async def read_tail(response: Posted, most_s: float) -> None:
    """Let the other side end a body whose last event has come; no longer than `most_s`."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(most_s):
            while await response.content.readany():
                pass
    except (TimeoutError, *BROKEN):
        return


async def read_up_to(response: Posted, most_bytes: int) -> bytes:
    """The body, cut at `most_bytes`."""
    pieces: list[bytes] = []
    size = 0
    while size < most_bytes and (piece := await response.content.readany()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)[:most_bytes]

"""The stops of a stream's events between the engine and the client, and what waits there until it may go."""

from __future__ import annotations

from typing import Protocol

from roost.gateway.client_stream import ClientStream
from roost.gateway.job import Job
from roost.gateway.sse import StreamRewriter
from roost.gateway.tools.events import CallEvents
from roost.gateway.tools.layer import Layer
from roost.gateway.tools.thought_events import ThoughtEvents
from roost.toolcalls.values import Refusal

#: An engine that sends so much without a word is not waited for any longer.
_MOST_WITHHELD_BYTES = 8 * 2**20


class Stage(Protocol):
    """A stop of events on their way: some wait there, some go on as others."""

    @property
    def chunks(self) -> int: ...

    def feed(self, event: bytes) -> list[bytes]: ...

    def flush(self) -> list[bytes]: ...


def stages_of(job: Job) -> list[Stage]:
    """Thoughts are told apart before calls are looked for."""
    stages: list[Stage] = []
    if job.thoughts is not None:
        stages.append(ThoughtEvents(job.thoughts))
    if job.layer is not None:
        stages.append(CallEvents(job.layer))
    return stages


class Staged:
    """The stages and the rewriter as one."""

    def __init__(self, stages: list[Stage], rewriter: StreamRewriter) -> None:
        self._stages = stages
        self._rewriter = rewriter

    @property
    def counter(self) -> Stage:
        return self._stages[0]

    def rewrite(self, event: bytes) -> bytes:
        return b"" if self._rewriter.facts.over else self._through([event], self._stages)

    def flush(self) -> bytes:
        """What waits at each stage, through those behind it."""
        places = range(len(self._stages))
        return b"".join(self._through(self._stages[at].flush(), self._stages[at + 1 :]) for at in places)

    def _through(self, events: list[bytes], stages: list[Stage]) -> bytes:
        for stage in stages:
            events = [said for event in events for said in stage.feed(event)]
        return b"".join(map(self._rewriter.rewrite, events))


class Withheld(Staged):
    """The same for an answer that may have to be asked for again: nothing goes out before that is known."""

    def __init__(self, stages: list[Stage], rewriter: StreamRewriter, out: ClientStream, layer: Layer) -> None:
        super().__init__(stages, rewriter)
        self._calls = [stage for stage in stages if isinstance(stage, CallEvents)]
        self._out = out
        self._layer = layer
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._open = False
        #: The engine's events, as long as nothing went out.
        self.events: list[bytes] = []

    def rewrite(self, event: bytes) -> bytes:
        if not self._open:
            self.events.append(event)
            self._size_bytes += len(event)
        return super().rewrite(event)

    @property
    def refusal(self) -> Refusal | None:
        """What the model is to be asked about, now that the answer is over; None: the answer goes out."""
        return None if self._open else self._layer.refusal

    async def write(self, data: bytes) -> None:
        """To the client, or to what is kept for it. Raises as `ClientStream.write`."""
        if self._open:
            await self._out.write(data)
            return
        self._pieces.append(data)
        undecided = all(calls.undecided for calls in self._calls)
        if self.refusal is not None or (undecided and self._size_bytes < _MOST_WITHHELD_BYTES):
            # Its time is that at which it goes out.
            self._layer.exchange.ttft_s = None
            return
        await self.release()

    async def release(self) -> None:
        """Nothing is withheld from now on."""
        self._open = True
        pieces, self._pieces, self.events = b"".join(self._pieces), [], []
        if pieces:
            self._layer.exchange.first_byte()
            await self._out.write(pieces)

"""An OpenAI stream as Ollama's: each event becomes a line of JSON, and `[DONE]` the line with the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from roost.errors import RoostError
from roost.gateway.assemble import Assembler
from roost.gateway.client_stream import ClientStream
from roost.gateway.exchange import Exchange
from roost.gateway.job import Job
from roost.gateway.ollama.answers import (
    BAD_CALL,
    Clock,
    Shape,
    calls_of,
    ending,
    error_bytes,
    line,
    line_bytes,
    logprobs_of,
    piece,
    thinking_of,
)
from roost.gateway.sse import StreamRewriter


class LineStream(ClientStream):
    """The client's end of an NDJSON stream. Its protocol has no comments: it is silent until the first line."""

    async def heartbeat_when_silent(self, heartbeat_s: float, comment: Callable[[], str], hush_s: float = 0.0) -> None:
        """Nothing can be said: the connection stays open, and the status stays free for a failure."""

    async def fail(self, error: RoostError) -> None:
        """The error as the last line, then close."""
        self.response.force_close()
        await self.write(error_bytes(error) + b"\n")
        await self.response.write_eof()


def line_stream(job: Job, headers: Mapping[str, str]) -> LineStream:
    """Not begun yet: the first line sends the status."""
    response = web.StreamResponse(
        headers={
            **job.call.exchange.headers(),
            **headers,
            "Content-Type": "application/x-ndjson",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )
    return LineStream(job.call.request, job.call.exchange, response, job.settings.gateway.write_deadline_s)


class LineRewriter(StreamRewriter):
    """Reads events as its parent does and gives lines instead; tool calls are held until they are whole."""

    def __init__(self, exchange: Exchange, model_id: str, shape: Shape) -> None:
        super().__init__(model_id, each=self._take)
        self._exchange = exchange
        self._model = model_id
        self._shape = shape
        self._lines: list[bytes] = []
        self._calls = Assembler()

    def rewrite(self, event: bytes) -> bytes:
        """The lines of one event; the closing line waits in `facts.done_event` until the stream proves complete."""
        over = self.facts.over
        self._lines = []
        super().rewrite(event)
        if self.facts.done_event is not None and not over:
            self.facts.done_event = self._closing()
        return b"".join(self._lines)

    def _take(self, chunk: dict[str, Any]) -> None:
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("tool_calls"):
                self._calls.add({"choices": [{"index": 0, "delta": {"tool_calls": delta["tool_calls"]}}]})
            self._say(delta.get("content") or choice.get("text") or "", thinking_of(delta), logprobs_of(choice))
            if choice.get("finish_reason") is not None:
                self._say_calls()

    def _say(self, text: str, thinking: str, more: Mapping[str, Any]) -> None:
        if text or thinking:
            self._lines.append(line_bytes(line(self._model, piece(self._shape, text, thinking), **more)))

    def _say_calls(self) -> None:
        for choice in self._calls.answer()["choices"]:
            try:
                calls = calls_of(choice["message"])
            except ValueError:
                self.facts.broken = BAD_CALL
                return
            self._lines.append(line_bytes(line(self._model, piece(self._shape, "", calls=calls))))

    def _closing(self) -> bytes:
        exchange, facts = self._exchange, self.facts
        exchange.count(facts.usage, facts.timings)
        clock = Clock(exchange.elapsed_s(), exchange.queued_s, exchange.ttft_s)
        numbers = ending(facts.finish_reason, exchange.prompt_tokens, exchange.completion_tokens, clock, facts.timings)
        return line_bytes(line(self._model, piece(self._shape, ""), **numbers))

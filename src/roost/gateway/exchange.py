"""One request from arrival to its row: what is learnt on the way, and the one promptless line at the end."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import structlog
from aiohttp import web

from roost.errors import RoostError
from roost.gateway.replies import ErrorBody, error_bytes
from roost.registry.types import Resolution
from roost.store.keys import Consumer
from roost.store.types import CLIENT_CLOSED, ActivityRow
from roost.workers.types import ReadyWorker

#: Beyond it a count is nonsense, and no float holds it exactly.
MOST_TOKENS = 2**53
CLIENT_CLOSED_STATUS = 499
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_NAME = 200
#: An id is unique, not secret: one random part a process, then a count.
_OWN_IDS = secrets.token_hex(8)
_own_numbers = count()
_log = structlog.get_logger("roost.gateway")
#: Tokens: of the prompt, of the answer, from the cache.
Counts = tuple[int | None, int | None, int | None]


def request_id(presented: str | None) -> str:
    """The client's own id when it is harmless, else a fresh one."""
    if presented and _REQUEST_ID.fullmatch(presented):
        return presented
    return f"req-{_OWN_IDS}{next(_own_numbers):08x}"


def shown_name(name: str) -> str:
    """A requested name as it may stand in rows and logs: bounded, printable."""
    cut = name[:_LONGEST_NAME]
    return cut if cut.isprintable() else cut.encode("ascii", "backslashreplace").decode()


@dataclass
class Exchange:
    """Filled in by the stops of the way; `row` is made once, at the end."""

    request_id: str
    method: str
    route: str
    node: str
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    consumer: Consumer | None = None
    #: The paired machine that sent it, and its key's digest; None: no machine did. Such a request is served here or not
    #: at all.
    peer: str | None = None
    peer_id: str | None = None
    #: Whom a trusted proxy names as the sender.
    client: str | None = None
    #: Only requests for a model make a row; health checks would drown them.
    kept: bool = False
    requested: str | None = None
    resolution: Resolution | None = None
    reason: str | None = None
    worker: ReadyWorker | None = None
    stream: bool = False
    queued_s: float | None = None
    ttft_s: float | None = None
    #: The request is on its way to whoever is to answer: a provider counts its prompt even if the client leaves now.
    is_asked: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    capped: str | None = None
    #: What was done about tool calls; None: the request brought none.
    tools: str | None = None
    #: The tool gate's word on the model, where tools matter to the request; None: they do not.
    verdict: str | None = None
    #: What was done to calls in the request's own messages; None: nothing.
    history: str | None = None
    #: `unfinished`: the token limit came before the model had thought to its end, and it said nothing.
    thinking: str | None = None
    error: RoostError | None = None
    #: The last event of a stream is on its way: the request is complete, whatever the client does then.
    told_all: bool = False
    #: Of the answer that was told, where no response can say it any more.
    told_status: int = 200
    cause: str | None = None
    #: Candidates that were asked, or would have been, before the one that answers: `local=concurrency_limit`.
    tried: tuple[str, ...] = ()
    #: What it cost at a provider, in US dollars; None: nothing, or nobody knows.
    cost_usd: float | None = None
    retry_count: int | None = None
    #: Of the matched route: the words that its clients read an error in.
    error_body: ErrorBody = error_bytes
    #: A further header in which they look for the request's id.
    id_header: str | None = None

    @classmethod
    def begin(cls, request: web.Request, node: str) -> Exchange:
        """Of a request that just arrived."""
        retries = request.headers.get("x-stainless-retry-count", "")
        return cls(
            request_id=request_id(request.headers.get("x-request-id")),
            method=request.method,
            route=request.path,
            node=node,
            retry_count=int(retries) if retries.isascii() and retries.isdigit() and len(retries) < 4 else None,
        )

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def first_byte(self) -> None:
        """The first byte of the answer's body is about to leave."""
        if self.ttft_s is None:
            self.ttft_s = self.elapsed_s()

    def headers(self) -> dict[str, str]:
        """What every answer says about who answered."""
        headers = {"x-request-id": self.request_id}
        if self.id_header is not None:
            headers[self.id_header] = self.request_id
        if self.resolution is not None:
            headers["x-roost-model"] = header_value(self.resolution.model_id)
            headers["x-roost-node"] = self.node
        if self.reason is not None:
            headers["x-roost-route"] = self.reason
        if self.tried:
            headers["x-roost-tried"] = header_value(", ".join(self.tried))
        if self.capped is not None:
            headers["x-roost-capped"] = self.capped
        if self.tools is not None:
            headers["x-roost-tools"] = self.tools
        if self.verdict is not None:
            headers["x-roost-verdict"] = self.verdict
        if self.history is not None:
            headers["x-roost-history"] = self.history
        if self.thinking is not None:
            headers["x-roost-thinking"] = self.thinking
        return headers

    def another_try(self, failed: str) -> None:
        """What one candidate has said is forgotten: another one is asked."""
        self.tried = (*self.tried, failed)
        self.worker = self.reason = self.queued_s = self.cause = self.ttft_s = None
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = self.finish_reason = None
        self.is_asked = False
        self.capped = self.tools = self.verdict = self.history = self.thinking = None

    def count(self, usage: Mapping[str, Any] | None, timings: Mapping[str, Any] | None) -> None:
        """Tokens as the engine counted them: OpenAI's usage first, llama.cpp's timings for the rest."""
        usage, timings = usage or {}, timings or {}
        details = usage.get("prompt_tokens_details")
        from_cache = _count(timings.get("cache_n"))
        told = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        computed = _count(timings.get("prompt_n"))
        # llama.cpp's prompt_n counts what was computed, without what the cache gave.
        self.prompt_tokens = _count(usage.get("prompt_tokens"))
        if self.prompt_tokens is None and computed is not None:
            self.prompt_tokens = computed + (from_cache or 0)
        self.completion_tokens = _count(usage.get("completion_tokens", timings.get("predicted_n")))
        self.cached_tokens = from_cache if told is None else told

    def take_counts(self) -> Counts:
        """The tokens counted so far, which are forgotten here: another answer is about to be counted."""
        counts = (self.prompt_tokens, self.completion_tokens, self.cached_tokens)
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = None
        return counts

    def add_counts(self, before: Counts) -> None:
        """Those of an earlier answer to the same request."""
        prompt, completion, cached = before
        self.prompt_tokens = _sum(prompt, self.prompt_tokens)
        self.completion_tokens = _sum(completion, self.completion_tokens)
        self.cached_tokens = _sum(cached, self.cached_tokens)

    def row(self, status: int) -> ActivityRow:
        """The finished request as a row."""
        return ActivityRow(
            request_id=self.request_id,
            at=self.at,
            method=self.method,
            route=self.route,
            requested=self.requested,
            resolved=self.resolution.model_id if self.resolution else None,
            node=self.node,
            worker_id=self.worker.worker_id if self.worker else None,
            worker_pid=self.worker.pid if self.worker else None,
            route_reason=self.reason,
            status=status,
            code=self._code(status),
            stream=self.stream,
            ttft_s=self.ttft_s,
            duration_s=self.elapsed_s(),
            queued_s=self.queued_s,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            finish_reason=self.finish_reason,
            consumer=self.consumer.name if self.consumer else None,
            cause=self.cause,
            retry_count=self.retry_count,
        )

    def _code(self, status: int) -> str | None:
        if status == CLIENT_CLOSED_STATUS:
            return CLIENT_CLOSED
        return self.error.code if self.error else None


def log_row(row: ActivityRow, exchange: Exchange) -> None:
    """The one line of a request: names, sizes, times and ids; of its tool calls what was done about them."""
    said = (
        ("tools", exchange.tools),
        ("history", exchange.history),
        ("thinking", exchange.thinking),
        ("peer", exchange.peer),
        ("client", exchange.client),
        ("tried", ", ".join(exchange.tried) or None),
        ("cost_usd", exchange.cost_usd),
    )
    more = {key: value for key, value in said if value is not None}
    _log.info(
        "request",
        id=row.request_id,
        route=row.route,
        status=row.status,
        code=row.code,
        requested=row.requested,
        resolved=row.resolved,
        node=row.node,
        worker=row.worker_id,
        pid=row.worker_pid,
        reason=row.route_reason,
        ttft_s=row.ttft_s and round(row.ttft_s, 4),
        duration_s=round(row.duration_s, 4),
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        consumer=row.consumer,
        cause=row.cause,
        **more,
    )


def log_refused(exchange: Exchange, status: int) -> None:
    """The line of a refused request that makes no row."""
    code = exchange.error.code if exchange.error else None
    _log.info("request", id=exchange.request_id, route=shown_name(exchange.route), status=status, code=code)


def header_value(name: str) -> str:
    """A name as a header value: ids are plain, anything else is escaped."""
    return name if name.isascii() and name.isprintable() else name.encode("ascii", "backslashreplace").decode()


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _count(value: object) -> int | None:
    """A count that an engine told; an engine may tell anything, and counters and the database hold only so much."""
    plausible = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if plausible and isinstance(value, int) else None

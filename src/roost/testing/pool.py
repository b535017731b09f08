"""A pool for tests of what stands in front of it: real servers behind it, and its waits and refusals by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from roost.catalog.spec import ModelSpec
from roost.engines.types import EngineTraits, ProofGrade
from roost.engines.wire import Wire
from roost.errors import ConcurrencyLimit, ModelLoading, ModelNotResident, RoostError
from roost.workers.types import Entry, Phase, Progress, ReadyWorker, WaitingSpare, WorkerView

ALL_SURFACES = frozenset({"chat", "completions", "embeddings", "rerank"})
PLAIN_TRAITS = EngineTraits(cancels_non_stream=True, context_check="engine", surfaces=ALL_SURFACES)


async def _no_count(route: str, body: bytes) -> int | None:
    return None


@dataclass
class FakeWorker:
    """One model's worker: a server that runs elsewhere, and the state that a test gives it."""

    spec: ModelSpec
    base_url: str
    served_name: str = "stand-in"
    is_versioned: bool = False
    traits: EngineTraits = PLAIN_TRAITS
    context_length: int | None = None
    concurrency: int = 4
    most_requests: int = 64
    headers: dict[str, str] = field(default_factory=dict)
    count_prompt_tokens: Callable[[str, bytes], Awaitable[int | None]] = _no_count
    state: str = "ready"
    #: Raised by `enter`.
    refusal: RoostError | None = None
    #: Where a request goes after `failed`; None: no retry.
    second_url: str | None = None
    #: Raised by `beat`.
    revoked: RoostError | None = None
    #: Whom the last request wants told of that.
    on_revoked: Callable[[RoostError], None] | None = None
    #: What `overdue` says.
    overdue: bool = False
    #: What `why_lost` says.
    why_lost: str = ""
    log_path: str | None = None
    #: Its last start was refused for memory.
    refused: bool = False
    #: The unix socket that it serves on; None: the address of `base_url`.
    socket_path: str | None = None
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    #: Set: loaded. Clear it to keep requests waiting.
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.state == "ready":
            self.loaded.set()


class FakeTicket:
    """See `workers.types.Ticket`; it remembers what was done with it."""

    def __init__(self, pool: FakePool, worker: FakeWorker, entry: Entry) -> None:
        self.entry = entry
        self.beats = 0
        self.tokens = 0
        self.failures: list[Exception] = []
        self.left = False
        self._pool, self._worker = pool, worker
        self._granted = asyncio.get_running_loop().create_future()
        self._url = worker.base_url
        if worker.running < worker.concurrency:
            self._take_slot()
        else:
            worker.waiting.append(self._granted)

    def progress(self) -> Progress:
        if not self._worker.loaded.is_set():
            return Progress(Phase.LOADING, fraction=0.5)
        if not self._granted.done():
            return Progress(Phase.QUEUED, position=1 + self._worker.waiting.index(self._granted))
        return Progress(Phase.READY)

    async def worker(self) -> ReadyWorker:
        await self._worker.loaded.wait()
        await asyncio.shield(self._granted)
        return self._pool.ready(self._worker, self._url)

    def beat(self, tokens: int = 1) -> None:
        self.beats += 1
        self.tokens += tokens
        if tokens and self._worker.revoked:
            raise self._worker.revoked

    def on_revoked(self, told: Callable[[RoostError], None] | None) -> None:
        self._worker.on_revoked = told

    def overdue(self) -> bool:
        return self._worker.overdue

    async def failed(self, error: Exception) -> bool:
        self.failures.append(error)
        if self._worker.second_url is None:
            return False
        self._url = self._worker.second_url
        return True

    async def settled(self, error: Exception) -> None:
        self.failures.append(error)

    def why_lost(self) -> str:
        return self._worker.why_lost

    def must_go(self) -> bool:
        return self._worker.state != "ready"

    def leave(self) -> None:
        if self.left:
            return
        self.left = True
        if self._granted.done():
            self._worker.running -= 1
            self._pool.grant_next(self._worker)
        elif self._granted in self._worker.waiting:
            self._worker.waiting.remove(self._granted)

    def _take_slot(self) -> None:
        self._worker.running += 1
        self._granted.set_result(None)


class FakePool:
    """See `workers.types.Pool`. An async context: it owns the sessions of its workers."""

    def __init__(self, *workers: FakeWorker) -> None:
        self.workers = {worker.spec.id: worker for worker in workers}
        self.tickets: list[FakeTicket] = []
        #: What was asked of it: ("load", "model-id") and so on.
        self.orders: list[tuple[str, str | None]] = []
        #: What `spares` answers.
        self.standing_by: tuple[WaitingSpare, ...] = ()
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for model_id, worker in self.workers.items():
            connector = aiohttp.UnixConnector(worker.socket_path) if worker.socket_path else None
            self._sessions[model_id] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()

    def enter(self, model_id: str, entry: Entry) -> FakeTicket:
        worker = self.workers.get(model_id)
        if worker is None:
            raise ModelNotResident(f"cannot switch to {model_id}: the fake pool has no such worker")
        if worker.refusal is not None:
            raise worker.refusal
        if worker.running + len(worker.waiting) >= worker.most_requests:
            raise ConcurrencyLimit(f"{model_id} has {worker.most_requests} requests already", retry_after_s=1)
        if not entry.wait_for_load and not worker.loaded.is_set():
            raise ModelLoading(f"{model_id} is loading", retry_after_s=1)
        ticket = FakeTicket(self, worker, entry)
        self.tickets.append(ticket)
        return ticket

    def ready(self, worker: FakeWorker, base_url: str) -> ReadyWorker:
        """The worker as a request gets it."""
        return ReadyWorker(
            worker_id=f"worker-{worker.spec.id}",
            model_id=worker.spec.id,
            engine="stand-in",
            pid=4711,
            served_name=worker.served_name,
            session=self._sessions[worker.spec.id],
            wire=Wire(self._sessions[worker.spec.id], base_url, worker.headers, 5.0),
            base_url=base_url,
            headers=worker.headers,
            traits=worker.traits,
            spec=worker.spec,
            context_length=worker.context_length,
            count_prompt_tokens=worker.count_prompt_tokens,
            is_versioned=worker.is_versioned,
        )

    def grant_next(self, worker: FakeWorker) -> None:
        """A slot is free: the next one in line takes it."""
        if worker.waiting and worker.running < worker.concurrency:
            worker.running += 1
            worker.waiting.popleft().set_result(None)

    def views(self) -> tuple[WorkerView, ...]:
        return tuple(_view(worker) for worker in self.workers.values() if worker.state != "stopped")

    def spares(self) -> tuple[WaitingSpare, ...]:
        return self.standing_by

    async def load(self, model_id: str) -> None:
        self.orders.append(("load", model_id))

    async def unload(self, model_id: str) -> None:
        self.orders.append(("unload", model_id))

    async def restart(self, model_id: str | None = None) -> None:
        self.orders.append(("restart", model_id))

    def log_path(self, worker: str) -> str | None:
        found = self.workers.get(worker.removeprefix("worker-"))
        return found.log_path if found else None


def _view(worker: FakeWorker) -> WorkerView:
    return WorkerView(
        worker_id=f"worker-{worker.spec.id}",
        model_id=worker.spec.id,
        engine="stand-in",
        engine_version="1",
        state=worker.state,
        pid=4711,
        started_at=1.0,
        ready_at=2.0 if worker.state == "ready" else None,
        expires_at=None,
        grade=ProofGrade.PROVEN,
        fingerprint=worker.spec.fingerprint,
        context_length=worker.context_length,
        concurrency=worker.concurrency,
        running=worker.running,
        queued=len(worker.waiting),
        restarts=0,
        resident_bytes=1000,
        kind="chat",
        problem=None,
        mend=None,
        refused=worker.refused,
    )

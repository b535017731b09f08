"""What the gateway and the own API see of the workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import aiohttp

from roost.catalog.spec import ModelSpec
from roost.engines.far import FarServer as FarServer
from roost.engines.types import EngineTraits as EngineTraits
from roost.engines.types import ProofGrade
from roost.engines.wire import Content as Content
from roost.engines.wire import Posted as Posted
from roost.engines.wire import Poster as Poster
from roost.errors import RoostError


class Phase(StrEnum):
    """Where a waiting request stands."""

    QUEUED = "queued"
    STOPPING_OTHER = "stopping-other"
    LOADING = "loading"
    READY = "ready"


@dataclass(frozen=True)
class Progress:
    phase: Phase
    #: 1 = next; None when not queued.
    position: int | None = None
    fraction: float | None = None
    #: Queued: its model is loaded, and only a slot is not free; else it waits for a place that others have.
    resident: bool = True

    def comment(self) -> str:
        """The text of an SSE comment heartbeat."""
        place = f" position={self.position}" if self.position is not None else ""
        share = f" {self.fraction:.0%}" if self.fraction is not None else ""
        return f"{self.phase.value}{place}{share}"


@dataclass(frozen=True)
class ReadyWorker:
    """A proven worker that a request may be sent to. Valid while its ticket is held."""

    worker_id: str
    model_id: str
    engine: str
    pid: int | None
    #: The name to write into the request body.
    served_name: str
    session: aiohttp.ClientSession
    wire: Poster
    base_url: str
    #: Authorization of the worker's own; never a client's.
    headers: Mapping[str, str]
    traits: EngineTraits
    spec: ModelSpec
    #: Tokens that one request may use; None: unknown, not checked.
    context_length: int | None
    count_prompt_tokens: Callable[[str, bytes], Awaitable[int | None]] = field(repr=False)
    #: Its address was given with the `/v1` that `base_url` leaves out.
    is_versioned: bool = False


class Ticket(Protocol):
    """One request's place in line for one model: entered, ready, left. Leaving is safe at any stage, and twice."""

    def progress(self) -> Progress: ...

    async def worker(self) -> ReadyWorker:
        """Waits until this request may be sent. Raises a RoostError (worker_failed, model_loading_timeout, …).

        Cancelling the await leaves the ticket in line; call `leave`.
        """
        ...

    def beat(self, tokens: int = 1) -> None:
        """Generation made progress: feeds the wedge watch. Cheap; call it for each upstream chunk that holds a token.
        With 0: it did not, but not for the worker's fault. Raises the RoostError that this request is to end with when
        it was cancelled for memory."""
        ...

    def on_revoked(self, told: Callable[[RoostError], None] | None) -> None:
        """Who waits for what no token interrupts is told at once when the request is cancelled for memory, with what
        it is to end with. None: nobody waits so any more."""
        ...

    def overdue(self) -> bool:
        """The worker sends, and has sent no token for longer than a first one may take. Ask it for what is no token:
        such an engine is neither silent nor idle, and nobody else would end the request."""
        ...

    async def failed(self, error: Exception) -> bool:
        """The upstream broke before its first byte. True: a fresh worker is worth one retry (await `worker` again);
        False: answer the error. Called at most once a request."""
        ...

    async def settled(self, error: Exception) -> None:
        """The upstream broke, and nothing is to be tried again: returns once `why_lost` knows the reason."""
        ...

    def why_lost(self) -> str:
        """Why the worker went away in mid-request, for the log and the error: exit code, stalled, stopped, or a whole
        sentence that begins with "cannot reach"."""
        ...

    def must_go(self) -> bool:
        """Its worker drains: what has no end of its own should find one. Cheap."""
        ...

    def leave(self) -> None:
        """The request is over, whatever the reason; its slot is free at once."""
        ...


#: Beyond any priority of a model.
BATCH_RANK = 1_000_000


@dataclass(frozen=True)
class Entry:
    """What the pool must know of a request to place it."""

    request_id: str
    #: interactive or batch; later issues fill in more.
    request_class: str = "interactive"
    #: Lower goes first.
    priority: int = 0
    #: Most tokens the reply may have, as asked; None: no limit asked.
    max_tokens: int | None = None
    #: Bytes of the prompt: scales the first-token deadline.
    prompt_bytes: int = 0
    #: False: answer 503 model_loading instead of waiting (setting load.wait).
    wait_for_load: bool = True
    #: A connection that may be silent for as long as it likes (a websocket): its silence tells nothing of the worker.
    open_ended: bool = False

    @property
    def is_batch(self) -> bool:
        return self.request_class == "batch"

    @property
    def rank(self) -> int:
        """Order in line, lower first: a batch goes behind everything interactive."""
        return self.priority + (BATCH_RANK if self.is_batch else 0)


@dataclass(frozen=True)
class WorkerView:
    """One worker as status, /running and metrics show it."""

    worker_id: str
    model_id: str
    engine: str
    engine_version: str | None
    #: queued, starting, loading, ready, draining, stopping, backoff, failed, stopped
    state: str
    pid: int | None
    started_at: float | None
    ready_at: float | None
    #: When it will be unloaded if idle, as a unix time; None: never.
    expires_at: float | None
    grade: ProofGrade | None
    fingerprint: str
    context_length: int | None
    concurrency: int
    running: int
    queued: int
    restarts: int
    resident_bytes: int | None
    #: chat, or auxiliary (embedding, rerank).
    kind: str
    #: What went wrong last, for people; None: nothing.
    problem: str | None
    mend: str | None
    command: tuple[str, ...] = ()
    proof: str | None = None
    #: Its turn among the models that wait to be loaded, 1 = next; None: it does not.
    place: int | None = None
    #: How long the oldest of the queued requests has waited; None: there is none.
    waits_s: float | None = None
    #: Why its next request would wait for its memory, for people; None: it would not.
    cold: str | None = None
    #: What memory it was promised, for people; None: it was not started.
    memory: str | None = None
    #: The same in bytes; None: nobody knows its size.
    promised_bytes: int | None = None
    #: What ends it beyond that.
    held_by: str | None = None
    #: Its last start was refused for memory, and none has been allowed since.
    refused: bool = False


@dataclass(frozen=True)
class WaitingSpare:
    """One engine's spare as status and metrics show it: a process without a model, or a place that is empty."""

    engine: str
    engine_version: str
    #: absent, importing, standby, ending, backoff, failed
    state: str
    pid: int | None
    started_at: float | None
    imported_at: float | None
    #: Measured; None: there is no process, or it was not looked at yet.
    resident_bytes: int | None
    #: Name of its log.
    log: str
    problem: str | None
    mend: str | None
    command: tuple[str, ...] = ()


class Pool(Protocol):
    """All workers of this node."""

    def enter(self, model_id: str, entry: Entry) -> Ticket:
        """Take a place in line. Raises at once: ConcurrencyLimit, ModelNotResident, ModelUnavailable, WorkerFailed
        (in backoff or failed), ShuttingDown, ModelLoading (when not waiting). Starts the load if the plan says so."""
        ...

    def views(self) -> tuple[WorkerView, ...]: ...

    def spares(self) -> tuple[WaitingSpare, ...]:
        """Processes without a model that wait to become workers, and places for them that are empty with a reason."""
        ...

    async def load(self, model_id: str) -> None:
        """Make it resident now, whatever the rotation policy says; returns when READY. Never kills a busy worker:
        it waits for the drain."""
        ...

    async def unload(self, model_id: str) -> None:
        """Drain and stop it; returns when its process is gone. Unknown or not loaded: returns at once."""
        ...

    async def restart(self, model_id: str | None = None) -> None:
        """Drain, stop and start it again (None: every resident)."""
        ...

    def log_path(self, worker: str) -> str | None:
        """The log file of a worker by worker id or model id; None when there is none."""
        ...

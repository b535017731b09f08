"""Rows of the store."""

from __future__ import annotations

from typing import NamedTuple, Protocol

#: `code` of a request whose client went before its answer was whole.
CLIENT_CLOSED = "client_closed"


class ActivityRow(NamedTuple):
    """One request, whatever became of it. Names, sizes, times and ids only: never a prompt.

    A named tuple: one is made for each request, and a frozen dataclass takes three times as long.
    """

    request_id: str
    #: Unix time at arrival.
    at: float
    method: str
    route: str
    #: What the client asked for, as sent; None: no model named.
    requested: str | None
    #: The physical id that answered, or would have.
    resolved: str | None
    node: str
    worker_id: str | None
    worker_pid: int | None
    #: Why it went there: `resident`, `loaded`, `swapped`, …
    route_reason: str | None
    status: int
    #: Our error code; None: success.
    code: str | None
    stream: bool
    #: Seconds from arrival to the first byte of the answer's body; None: none was sent.
    ttft_s: float | None
    duration_s: float
    queued_s: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    bytes_in: int
    bytes_out: int
    finish_reason: str | None
    consumer: str | None
    #: For people: exit code, stalled, client closed, …
    cause: str | None
    retry_count: int | None = None


class ActivitySink(Protocol):
    """Where finished requests go. `record` only appends to memory; batches are written off the request path."""

    def record(self, row: ActivityRow) -> None: ...


class ActivityLog(ActivitySink, Protocol):
    def recent(self, limit: int = 100, model: str | None = None) -> list[ActivityRow]:
        """Newest first, including what is not yet written."""
        ...

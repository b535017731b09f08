"""What a soak saw, as values: the judge reads nothing else. Times are unix seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Ending(StrEnum):
    """How the exchange ended on the wire, seen by the client."""

    #: The answer came to the end that its framing promised.
    WHOLE = "whole"
    #: The connection ended inside the answer, or before it.
    CUT = "cut"
    #: No connection was to be had.
    REFUSED = "refused"
    #: The client left, as it meant to.
    LEFT = "left"
    #: The client's deadline was over.
    LATE = "late"


@dataclass(frozen=True)
class Request:
    """One request and what came of it."""

    id: str
    consumer: str
    #: stream, whole, batch, embedding, invalid, slow, probe, herd.
    kind: str
    #: The name in the body.
    asked: str
    sent_at: float
    ended_at: float
    ending: Ending
    #: The code that must come; None: an answer.
    expects: str | None = None
    status: int | None = None
    #: Of the error object or the error frame.
    code: str | None = None
    #: The error came as the last event of a stream.
    framed: bool = False
    #: The header `x-roost-model`.
    told: str | None = None
    #: Every `model` in the answer.
    names: frozenset[str] = frozenset()
    #: Models whose mark is in the text.
    marks: frozenset[str] = frozenset()
    #: What is wrong with the answer by itself; empty: nothing.
    problem: str = ""

    @property
    def begun(self) -> bool:
        """A part of the answer came, so that roost has certainly seen the request."""
        return self.status is not None


@dataclass(frozen=True)
class Line:
    """The line of one request in roost's own log."""

    id: str
    status: int
    code: str | None
    resolved: str | None
    at: float


@dataclass(frozen=True)
class Fact:
    """A change of state of one worker, from roost's own log. `start` counts a model's starts in one daemon."""

    model: str
    start: int
    fact: str
    at: float


@dataclass(frozen=True)
class Fault:
    """Something bad that was done, and what may follow from it."""

    kind: str
    #: None: it concerns all.
    model: str | None
    began_at: float
    #: Nothing that was sent later may suffer from it.
    ended_at: float
    #: When the blow fell, where something had to be made ready for it; None: at once.
    struck_at: float | None = None
    #: When the cause was taken away; None: it was a blow, and no state.
    mended_at: float | None = None
    #: First good answer of the model afterwards; None: not waited for.
    recovered_at: float | None = None
    #: Requests that the worker could run at once.
    slots: int = 0
    #: How long a worker that does nothing may go unnoticed; None: none was held.
    deadline_s: float | None = None
    #: The fault's own check: what was not as promised.
    problem: str = ""


@dataclass(frozen=True)
class Herd:
    """Many requests at once for a model that was not loaded."""

    model: str
    size: int
    began_at: float
    ended_at: float
    #: When it was told to go: from then on somebody else's request may have been the one that started it.
    unloaded_at: float


@dataclass(frozen=True)
class Footprint:
    """What the daemon holds at rest: one model loaded, nobody asking."""

    descriptors: int
    resident_bytes: int
    tasks: int | None
    #: What each task runs.
    doing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rest:
    """What was there when nobody asked any more, and after the end."""

    #: Running and waiting requests as status, the metrics and the workers themselves count them.
    counters: dict[str, int]
    first: Footprint
    last: Footprint
    #: Requests between the two footprints.
    requests_between: int
    #: Processes, sockets, temporary files: whatever should be gone.
    left_behind: tuple[str, ...]
    #: `place: what` for each secret or prompt found where none may be.
    exposed: tuple[str, ...]
    log_bytes: dict[str, int]
    log_cap_bytes: int
    stop_s: float
    exit_code: int | None


@dataclass(frozen=True)
class Record:
    """One soak."""

    seconds: float
    drain_s: float
    #: `queue.max_wait_s`.
    max_wait_s: float
    requests: tuple[Request, ...]
    lines: tuple[Line, ...]
    facts: tuple[Fact, ...]
    faults: tuple[Fault, ...]
    herds: tuple[Herd, ...]
    #: What each role may have meant in the course of the run.
    roles: dict[str, frozenset[str]]
    #: Defects, exceptions that nobody caught, exits of the daemon that nobody asked for.
    broken: tuple[str, ...]
    rest: Rest

    def as_json(self) -> dict[str, Any]:
        """Sets become sorted lists."""
        value = _plain(asdict(self))
        assert isinstance(value, dict)
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value

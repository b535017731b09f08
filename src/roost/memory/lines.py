"""At how much memory a worker is ended at once: the lines that its guardian holds beside it. Pure.

A worker may take more than it was promised while nobody else was promised that: an estimate may be wrong, and a machine
with room is no reason to end anybody. It may not once the machine is short, and never beyond its margin.
"""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20
#: Between two looks: while weights are on their way, and afterwards.
LOADING_PERIOD_MS, STEADY_PERIOD_MS = 15, 250
#: Above the promise at least so much, which the watch's reserve covers; at most this share of the promise, or so much.
LEAST_MARGIN_BYTES = 256 * _MIB
_MOST_MARGIN_SHARE, _MOST_MARGIN_BYTES = 2, 2**30


@dataclass(frozen=True)
class Lines:
    """Of one worker's whole tree: what it has for itself, files that are mapped aside."""

    period_ms: int
    #: Beyond it the tree is ended, whatever the machine has.
    limit_bytes: int
    #: Beyond it the tree is ended while the machine has less than the floor.
    promise_bytes: int
    floor_bytes: int
    #: What the kernel lets the worker's own process map for itself; 0: as much as it likes.
    data_bytes: int = 0
    #: Folder of the control group that it goes into; "": none.
    group: str = ""


@dataclass(frozen=True)
class Beyond:
    """Why a guardian ended its worker."""

    private_bytes: int
    available_bytes: int


def lines_of(promised_bytes: int | None, unpromised_bytes: int, floor_bytes: int, *, loading: bool) -> Lines:
    """`promised_bytes`: None for a worker of unknown size, which may have whatever nobody was promised.

    A load is what grows: it ends when the machine falls below its floor, whoever took the memory. Nobody is served by
    it yet, and the next try may find more.
    """
    free = max(unpromised_bytes, 0)
    if promised_bytes is None:
        limit = max(free, LEAST_MARGIN_BYTES)
        return Lines(_period(loading), limit, 0 if loading else limit, floor_bytes)
    most = max(promised_bytes // _MOST_MARGIN_SHARE, _MOST_MARGIN_BYTES)
    margin = max(min(most, free), LEAST_MARGIN_BYTES)
    return Lines(_period(loading), promised_bytes + margin, 0 if loading else promised_bytes, floor_bytes)


def _period(loading: bool) -> int:
    return LOADING_PERIOD_MS if loading else STEADY_PERIOD_MS


def why_ended(lines: Lines, beyond: Beyond) -> str:
    """For people; a sentence's end."""
    if beyond.private_bytes > lines.limit_bytes:
        return f"it had {_mib(beyond.private_bytes)} and may have {_mib(lines.limit_bytes)} (memory_gb)"
    return (
        f"it had {_mib(beyond.private_bytes)} when {_mib(beyond.available_bytes)} were available on this machine, of "
        f"which {_mib(lines.floor_bytes)} are never touched"
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.0f} MiB"

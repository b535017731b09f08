"""How far a slow step of the catalog has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`done_bytes` of `total_bytes` (None: unknown) of one step."""

    #: fetch, verify, unpack, wait
    verb: str
    #: What is worked on, for people: a model id or file name.
    subject: str
    done_bytes: int
    total_bytes: int | None


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """For callers who show nothing."""

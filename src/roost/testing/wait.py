"""Waiting in tests: poll a condition against a deadline. The only place where a test may sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.01


class DeadlineExceeded(AssertionError):
    """The condition did not come true in time; the message shows its last value."""


async def until(condition: Callable[[], T | Awaitable[T]], *, timeout_s: float = 10.0, what: str = "") -> T:
    """The first truthy value of `condition` (plain or async). Raises DeadlineExceeded after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        found: T = await value if inspect.isawaitable(value) else value
        if found:
            return found
        _check(deadline, timeout_s, what or _name(condition), found)
        await asyncio.sleep(_POLL_S)


def until_sync(condition: Callable[[], T], *, timeout_s: float = 10.0, what: str = "") -> T:
    """`until` for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        _check(deadline, timeout_s, what or _name(condition), found)
        time.sleep(_POLL_S)
    return found


def _check(deadline: float, timeout_s: float, what: str, last: object) -> None:
    if time.monotonic() > deadline:
        raise DeadlineExceeded(f"waited {timeout_s:g} s for {what}; it was still {last!r}")


def _name(condition: Callable[..., object]) -> str:
    return getattr(condition, "__name__", "the condition")

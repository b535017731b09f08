"""When is a silent worker dead? Two signals before a kill: no token beyond the deadline, and no sign of work.

A long prefill is silent and busy: it lives. A worker held by SIGSTOP, or hung at 0 % CPU, is silent and does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Slowest prefill that is still taken for normal, in prompt bytes a second (about 12 tokens/s on a laptop CPU).
SLOWEST_PREFILL_BYTES_PER_S = 40.0
#: CPU share below which a process counts as doing nothing.
IDLE_CPU_SHARE = 0.02


@dataclass(frozen=True)
class RunningView:
    """One request that was sent to the worker."""

    sent_at: float
    #: Last token; None: none yet.
    last_beat: float | None
    prompt_bytes: int


@dataclass(frozen=True)
class Window:
    """What the worker's processes did while nothing came out."""

    seconds: float
    cpu_s: float
    #: Held by SIGSTOP or a debugger.
    stopped: bool
    #: It failed to answer its own health route in this window.
    health_failed: bool


def first_token_deadline_s(prompt_bytes: int, stall_s: float) -> float:
    """Grows with the prompt: prefill is silent."""
    return stall_s + prompt_bytes / SLOWEST_PREFILL_BYTES_PER_S


def talk_deadline_s(running_prompt_bytes: int, stall_s: float, may_load_s: float) -> float:
    """How long an answer may hold comments and nothing else: prefills that share the engine are waited for, and a
    server elsewhere (`may_load_s`) may have to load first and say so meanwhile."""
    return first_token_deadline_s(running_prompt_bytes, stall_s) + may_load_s


def silent_since(running: Iterable[RunningView], stall_s: float, now: float) -> float | None:
    """Since when no request has got a token although all are past their deadline; None: progress, or not due.

    One request that moves proves that the engine lives.
    """
    since: float | None = None
    for view in running:
        last = view.sent_at if view.last_beat is None else view.last_beat
        allowed_s = first_token_deadline_s(view.prompt_bytes, stall_s) if view.last_beat is None else stall_s
        if now - last < allowed_s:
            return None
        since = last if since is None else max(since, last)
    return since


def is_wedged(window: Window) -> bool:
    """The second signal: it is stopped, or used next to no CPU, or does not even answer its health route."""
    idle = window.cpu_s < IDLE_CPU_SHARE * window.seconds
    return window.stopped or idle or window.health_failed


def load_stalled(seconds_without_change: float, deadline_s: float) -> bool:
    """A load without CPU, memory, I/O or output for so long has failed."""
    return seconds_without_change >= deadline_s

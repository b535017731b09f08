"""What a failed start means for the next one: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
#: So many failed starts within the window, and only a person starts it again.
GIVE_UP_COUNT = 5
GIVE_UP_WINDOW_S = 60.0
#: So many failures to reach a server elsewhere within the window, and for a while nobody tries.
CIRCUIT_COUNT = 3
CIRCUIT_WINDOW_S = 10.0
CIRCUIT_OPEN_S = 5.0


@dataclass(frozen=True)
class RetryAtOnce:
    pass


@dataclass(frozen=True)
class RetryAt:
    time: float


@dataclass(frozen=True)
class GiveUp:
    pass


Verdict = RetryAtOnce | RetryAt | GiveUp


def after_failure(failures: Sequence[float], now: float, jitter: float) -> Verdict:
    """`failures`: times of the failed starts in a row, the newest last (it is `now`'s); `jitter` from 0 to 1.

    The first failure may be an accident: the next request tries again. From the second one on, 1-60 s, doubling,
    with up to half of jitter so that several models do not retry in step.
    """
    recent = [time for time in failures if now - time <= GIVE_UP_WINDOW_S]
    if len(recent) >= GIVE_UP_COUNT:
        return GiveUp()
    if len(failures) < 2:
        return RetryAtOnce()
    delay_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (len(failures) - 2))
    return RetryAt(now + min(LONGEST_BACKOFF_S, delay_s * (1 + jitter / 2)))


def after_unreachable(failures: Sequence[float], now: float) -> Verdict:
    """The same for a server that roost does not run and that nobody answers for. It is never given up: whoever
    starts it again tells roost nothing."""
    recent = [time for time in failures if now - time <= CIRCUIT_WINDOW_S]
    return RetryAt(now + CIRCUIT_OPEN_S) if len(recent) >= CIRCUIT_COUNT else RetryAtOnce()

"""How much each key may ask at once and in a minute. In memory: a restart forgets, and lends nobody anything for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from roost.errors import ConcurrencyLimit, RateLimitExceeded
from roost.store.keys import Consumer

WINDOW_S = 60.0
#: When somebody whose key is full may look again: nobody knows how long the others run.
_AGAIN_S = 1.0


@dataclass
class _Spent:
    """What one key has asked."""

    running: int = 0
    #: When each request of the last minute came; monotonic seconds.
    came_at: deque[float] = field(default_factory=deque)


@dataclass
class Quotas:
    """One a gateway; both of its listeners count together."""

    now: Callable[[], float] = time.monotonic
    _spent: dict[str, _Spent] = field(default_factory=dict)

    @contextmanager
    def hold(self, consumer: Consumer | None) -> Iterator[None]:
        """For as long as one request runs. Raises ConcurrencyLimit, RateLimitExceeded; what is refused counts for
        nothing."""
        if consumer is None or (consumer.requests_per_minute is None and consumer.requests_at_once is None):
            yield
            return
        spent = self._spent.setdefault(consumer.key_id, _Spent())
        self._check_at_once(consumer, spent)
        self._check_minute(consumer, spent)
        spent.running += 1
        try:
            yield
        finally:
            spent.running -= 1

    def _check_at_once(self, consumer: Consumer, spent: _Spent) -> None:
        most = consumer.requests_at_once
        if most is not None and spent.running >= most:
            raise ConcurrencyLimit(
                f'the key "{consumer.name}" may have {most} requests at once, and {spent.running} run',
                retry_after_s=_AGAIN_S,
            )

    def _check_minute(self, consumer: Consumer, spent: _Spent) -> None:
        most, now = consumer.requests_per_minute, self.now()
        if most is None:
            return
        while spent.came_at and spent.came_at[0] <= now - WINDOW_S:
            spent.came_at.popleft()
        if len(spent.came_at) >= most:
            raise RateLimitExceeded(
                f'the key "{consumer.name}" may ask {most} times a minute, and has',
                retry_after_s=spent.came_at[0] + WINDOW_S - now,
            )
        spent.came_at.append(now)

"""When requests to a machine stop being tried: three that broke within ten seconds. Pure but for the clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

FAILURES = 3
WITHIN_S = 10.0


@dataclass
class Breaker:
    """`now` gives monotonic seconds."""

    now: Callable[[], float] = time.monotonic
    #: When it opened; None: requests may go.
    opened_at: float | None = None
    _failed_at: deque[float] = field(default_factory=deque)

    def note(self, *, failed: bool) -> bool:
        """A request got an answer or broke. True: it opened by this one."""
        if not failed:
            self._failed_at.clear()
            return False
        now = self.now()
        self._failed_at.append(now)
        while self._failed_at[0] < now - WITHIN_S:
            self._failed_at.popleft()
        if self.opened_at is not None or len(self._failed_at) < FAILURES:
            return False
        self.opened_at = now
        return True

    def probed(self, began_at: float) -> None:
        """A look that began then was answered: requests may go again, if it began after the last failure."""
        if self.opened_at is not None and began_at >= self.opened_at:
            self.opened_at = None
            self._failed_at.clear()

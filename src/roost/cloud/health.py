"""Whether a provider is to be asked now, from what became of earlier requests. Pure: the clock comes in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: So many failures within so long close it.
MOST_FAILURES, WINDOW_S = 3, 30.0
#: For so long, and twice as long each time that it fails right after.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
#: Offline: until the next look at whether it can be reached, which is taken ever less often.
FIRST_LOOK_S, LONGEST_LOOK_S = 1.0, 15.0
#: A provider may name any pause.
LONGEST_ASKED_S = 600.0
OFFLINE = "offline"


@dataclass(frozen=True)
class Closed:
    """Why it is not to be asked, for people, and for how long."""

    why: str
    again_s: float
    #: What exactly is wrong with the way to it; None: it can be reached.
    unreachable: str | None = None


@dataclass
class Health:
    """Of one provider. Times are seconds of one monotonic clock."""

    _failures: deque[float] = field(default_factory=deque)
    _broken_until: float = 0.0
    #: Times in a row that it was closed for failures.
    _breaks: int = 0
    _asked_until: float = 0.0
    #: Why no connection came about; None: one did.
    _unreachable: str | None = None
    _look_at: float = 0.0
    #: Times in a row that somebody looked in vain.
    _looks: int = 0

    def closed(self, now: float) -> Closed | None:
        """None: it may be asked."""
        if self._unreachable is not None and now < self._look_at + LONGEST_LOOK_S:
            return Closed(OFFLINE, max(self._look_at - now, FIRST_LOOK_S), self._unreachable)
        if now < self._asked_until:
            return Closed("it asked for a pause", self._asked_until - now)
        if now < self._broken_until:
            return Closed("it failed again and again", self._broken_until - now)
        return None

    @property
    def is_away(self) -> bool:
        """No connection came about, and none has since."""
        return self._unreachable is not None

    def look_due(self, now: float) -> bool:
        """It is time to look whether it can be reached again."""
        return self._unreachable is not None and now >= self._look_at

    def answered(self) -> None:
        """All is well, but for a pause that it asked for."""
        self._failures.clear()
        self._broken_until, self._breaks = 0.0, 0
        self.reachable()

    def reachable(self) -> None:
        """A connection came about."""
        self._unreachable, self._looks = None, 0

    def failed(self, now: float) -> None:
        """No connection, 429 or 5xx. One of a request that began before it was closed says nothing new."""
        if self.closed(now):
            return
        self._failures.append(now)
        while self._failures[0] < now - WINDOW_S:
            self._failures.popleft()
        if len(self._failures) >= MOST_FAILURES or self._breaks:
            self._broken_until = now + min(FIRST_PAUSE_S * 2**self._breaks, LONGEST_PAUSE_S)
            self._breaks += 1
            self._failures.clear()

    def asked_to_wait(self, now: float, seconds: float) -> None:
        """It named a pause. A shorter one than is kept already changes nothing."""
        self._asked_until = max(self._asked_until, now + min(seconds, LONGEST_ASKED_S))

    def unreachable(self, now: float, why: str, *, looked: bool = False) -> None:
        """No connection came about: offline at once. Until somebody has `looked` again, further ones say nothing new;
        should nobody look, one request may try it after a while."""
        if self.closed(now) and self._unreachable is not None and not looked:
            return
        self._unreachable = why
        self._look_at = now + min(FIRST_LOOK_S * 2**self._looks, LONGEST_LOOK_S)
        self._looks += 1

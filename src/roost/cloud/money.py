"""What was spent today, by cloud and by key, and what is still to be spent of a budget.

A day is one of UTC, as providers bill them: it neither moves with the machine nor is it 23 hours long in spring.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: Tokens that the answers of running requests are taken for, until it is known how long they are.
ANSWER_TOKENS = 1000
#: Bytes of a body that make a token, about; more of them make one in most languages and in JSON.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Booking:
    """What one request cost."""

    day: str
    cloud: str
    model_id: str
    #: Empty: nobody's.
    key_name: str
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True)
class Total:
    """Of one cloud and one key on a day, from the database."""

    cloud: str
    key_name: str
    usd: float


def utc_day(now: float) -> str:
    """Of a Unix time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def seconds_left(now: float) -> float:
    """Of the day."""
    at = datetime.fromtimestamp(now, UTC)
    next_day = (at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (next_day - at).total_seconds()


class Books:
    """Today's sums. `keep` is told of each booking; it must not wait."""

    def __init__(self, keep: Callable[[Booking], None], now: Callable[[], float]) -> None:
        self._keep = keep
        self._now = now
        self._day = utc_day(now())
        self._by_cloud: defaultdict[str, float] = defaultdict(float)
        self._by_key: defaultdict[str, float] = defaultdict(float)
        #: What requests that run now may cost.
        self._reserved_cloud: defaultdict[str, float] = defaultdict(float)
        self._reserved_key: defaultdict[str, float] = defaultdict(float)

    def fill(self, day: str, totals: Iterable[Total]) -> None:
        """What earlier daemons booked on that day."""
        if day == self.today():
            for total in totals:
                self._add(total.cloud, total.key_name, total.usd)

    def today(self) -> str:
        """The day; a new one begins with nothing spent."""
        if (day := utc_day(self._now())) != self._day:
            self._day = day
            self._by_cloud.clear()
            self._by_key.clear()
        return self._day

    def seconds_left(self) -> float:
        return seconds_left(self._now())

    def spent_at(self, cloud: str) -> float:
        """US dollars today, by all."""
        self.today()
        return self._by_cloud.get(cloud, 0.0)

    def promised_at(self, cloud: str) -> float:
        """With what requests that run now may cost."""
        return self.spent_at(cloud) + self._reserved_cloud.get(cloud, 0.0)

    def promised_by(self, key_name: str) -> float:
        """The same of one key, at all clouds."""
        self.today()
        return self._by_key.get(key_name, 0.0) + self._reserved_key.get(key_name, 0.0)

    def book(self, cloud: str, model_id: str, key_name: str, prompt: int, completion: int, usd: float) -> None:
        day = self.today()
        self._add(cloud, key_name, usd)
        self._keep(Booking(day, cloud, model_id, key_name, prompt, completion, usd))

    def reserve(self, cloud: str, key_name: str, usd: float) -> Callable[[], None]:
        """Counts it as spent until what is returned is called, however often that is."""
        self._reserved_cloud[cloud] += usd
        self._reserved_key[key_name] += usd
        held = [usd]

        def release() -> None:
            for one in held:
                self._reserved_cloud[cloud] -= one
                self._reserved_key[key_name] -= one
            held.clear()

        return release

    def _add(self, cloud: str, key_name: str, usd: float) -> None:
        self._by_cloud[cloud] += usd
        self._by_key[key_name] += usd

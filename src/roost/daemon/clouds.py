"""Clouds of the live settings, what is spent there between memory and database, and looks at who cannot be reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from roost.api import Problem
from roost.cloud.money import Booking, Books, Total, utc_day
from roost.cloud.providers import Providers
from roost.cloud.types import CloudView
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.store.spending import SpendingRow, SpendingStore

log = structlog.get_logger(__name__)

#: How often it is seen whether a look is due while somebody cannot be reached; the looks themselves are rarer.
LOOK_EVERY_S = 0.5
_MENDS = {
    "offline": "check the connection; roost looks by itself",
    "no key": "put its key where its api_key points",
    "its budget of the day is spent": "raise its max_usd_per_day, or wait until midnight UTC",
}


class CloudKeeper:
    """Owns the providers, their connections and their bookings, from the daemon's start to its end."""

    def __init__(self, settings: Callable[[], Settings], environ: Mapping[str, str], store: SpendingStore) -> None:
        self._settings = settings
        self._store = store
        self._bookings: asyncio.Queue[Booking] = asyncio.Queue()
        #: Why the last booking was not written; None: it was.
        self._unwritten: str | None = None
        self.clouds = Providers(lambda: settings().clouds, environ, Books(self._bookings.put_nowait, time.time))

    @classmethod
    def here(cls, settings: Callable[[], Settings], environ: Mapping[str, str], paths: Paths) -> CloudKeeper:
        return cls(settings, environ, SpendingStore(paths.database))

    def fill(self) -> None:
        """Blocking: what earlier daemons booked today."""
        day = utc_day(time.time())
        self.clouds.books.fill(day, [Total(row.cloud, row.consumer, row.usd) for row in self._store.load(day)])

    async def run(self) -> None:
        """Writes and looks until cancelled; then what is left is written and every connection closed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(), name="spending")
                group.create_task(self._look(), name="offline clouds")
        finally:
            await self.clouds.close()
            if not self._bookings.empty():
                await self._save(self._bookings.get_nowait())
            self._store.close()

    def problems(self) -> tuple[Problem, ...]:
        """Providers that are not to be asked now, for status."""
        told = [_problem(view) for view in self.clouds.views() if view.closed]
        if self._unwritten:
            told.append(Problem(severity="warning", text=self._unwritten, mend="roost doctor"))
        return tuple(told)

    async def _write(self) -> None:
        while True:
            await self._save(await self._bookings.get())

    async def _save(self, first: Booking) -> None:
        """It and all that wait behind it, whole, cancelled or not: the thread goes on anyhow."""
        rows = [_row(first)]
        while not self._bookings.empty():
            rows.append(_row(self._bookings.get_nowait()))
        saving = asyncio.get_running_loop().run_in_executor(None, self._store.add, rows)
        try:
            await asyncio.shield(saving)
        finally:
            self._unwritten = await saving
            if self._unwritten:
                log.warning("spending not kept", reason=self._unwritten, requests=len(rows))

    async def _look(self) -> None:
        if self._settings().clouds:
            # Before the first request needs it: it takes a second.
            await asyncio.to_thread(self.clouds.load)
        while True:
            await self.clouds.went_away.wait()
            while self.clouds.any_away():
                await self.clouds.look_again()
                await asyncio.sleep(LOOK_EVERY_S)
            self.clouds.went_away.clear()


def _problem(view: CloudView) -> Problem:
    mend = _MENDS.get(str(view.closed), "roost tries it again by itself")
    return Problem(severity="warning", text=f"cloud {view.name} is not asked now: {view.closed}", mend=mend)


def _row(booking: Booking) -> SpendingRow:
    return SpendingRow(
        day=booking.day,
        cloud=booking.cloud,
        model_id=booking.model_id,
        consumer=booking.key_name,
        requests=1,
        prompt_tokens=booking.prompt_tokens,
        completion_tokens=booking.completion_tokens,
        usd=booking.usd,
    )

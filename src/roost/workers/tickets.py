"""A request's hold on its place in line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from roost.errors import RoostError
from roost.workers.lifecycle import State
from roost.workers.station import Place, Station
from roost.workers.types import Progress, ReadyWorker


class Reception(Protocol):
    """The part of the pool that a ticket speaks to."""

    def now(self) -> float: ...

    def progress_of(self, station: Station, place: Place) -> Progress: ...

    async def settled(self, place: Place, error: Exception) -> None: ...

    async def retry(self, station: Station, place: Place, error: Exception) -> bool: ...

    def overdue(self, station: Station, place: Place) -> bool: ...

    def leave(self, station: Station, place: Place) -> None: ...


class RequestTicket:
    """See `workers.types.Ticket`."""

    def __init__(self, pool: Reception, station: Station, place: Place) -> None:
        self._pool, self._station, self._place = pool, station, place

    def progress(self) -> Progress:
        return self._pool.progress_of(self._station, self._place)

    async def worker(self) -> ReadyWorker:
        if self._place.granted.done():
            return self._place.granted.result()
        return await asyncio.shield(self._place.granted)

    def beat(self, tokens: int = 1) -> None:
        self._place.last_beat = self._pool.now()
        if tokens and self._place.revoked is not None:
            raise self._place.revoked

    def on_revoked(self, told: Callable[[RoostError], None] | None) -> None:
        self._place.on_revoked = told

    def overdue(self) -> bool:
        return self._pool.overdue(self._station, self._place)

    async def failed(self, error: Exception) -> bool:
        return await self._pool.retry(self._station, self._place, error)

    async def settled(self, error: Exception) -> None:
        await self._pool.settled(self._place, error)

    def why_lost(self) -> str:
        return self._place.run.why_lost() if self._place.run else "it never reached a worker"

    def must_go(self) -> bool:
        return self._station.state is not State.READY

    def leave(self) -> None:
        self._pool.leave(self._station, self._place)

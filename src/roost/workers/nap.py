"""A worker that gives its memory back while its process stays, and takes it again: one start's part of it.

The engine's word is not enough: the pool sees the memory gone before it promises it to another, and what the worker
says of its sizes must be the same after it woke.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import structlog

from roost.engines.parks import ParkFailed, Parks
from roost.engines.types import WorkerHttp, WorkerPlace
from roost.errors import WorkerFailed
from roost.workers.lifecycle import Event
from roost.workers.saved_cache import SavedCache
from roost.workers.start import StartOrder, check_files

#: How long an engine may take over giving all back.
PARK_S = 20.0

#: Why its memory is not seen to be gone; None: it is. Given what a parked worker of its engine keeps at most.
SeenParked = Callable[[int], Awaitable[str | None]]

#: A load, which begins with what it is given; whether it came to READY.
ReachReady = Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]]

log = structlog.get_logger(__name__)


async def nobody_looks(most_bytes: int) -> str | None:
    return "nobody looks after its memory"


class Nap:
    """Posts PARKED and PARK_FAILED."""

    def __init__(
        self, order: StartOrder, post: Callable[[Event], None], given_up: asyncio.Event, seen_parked: SeenParked
    ) -> None:
        self._order, self._post, self._given_up, self._seen = order, post, given_up, seen_parked
        self._engine = order.engine if order.parks and isinstance(order.engine, Parks) else None
        self._told = asyncio.Event()
        self._settings: Mapping[str, Any] | None = None
        #: Without its memory, or on the way there.
        self.parked = False

    @property
    def possible(self) -> bool:
        return self._engine is not None and self._engine.can_park()

    def park(self) -> None:
        self.parked = True
        self._told.set()

    def wake(self) -> None:
        self._told.set()

    async def run(self, http: WorkerHttp, place: WorkerPlace, cache: SavedCache, reach_ready: ReachReady) -> None:
        """Until cancelled: parks when told to, then wakes when told to."""
        if self._engine is None:
            return
        while True:
            await self._next()
            if not await self._park(self._engine, http, place, cache):
                return
            await self._next()
            await reach_ready(partial(self._wake, self._engine, http, place))

    async def check(self, http: WorkerHttp) -> None:
        """After it woke: a path that loads late may have forgotten its sizes. Raises WorkerFailed."""
        if self._engine is None or self._settings is None:
            return
        try:
            now = await self._engine.memory_settings(http)
        except ParkFailed as error:
            raise WorkerFailed(f"cannot serve {self._order.spec.id}: after it woke {error}") from error
        if now != self._settings:
            raise WorkerFailed(
                f"cannot serve {self._order.spec.id}: it woke with other sizes, {dict(now)} for {dict(self._settings)}"
            )

    async def _next(self) -> None:
        await self._told.wait()
        self._told.clear()

    async def _park(self, engine: Parks, http: WorkerHttp, place: WorkerPlace, cache: SavedCache) -> bool:
        reason: str | None
        try:
            async with asyncio.timeout(PARK_S):
                self._settings = await engine.memory_settings(http)
                await cache.save(self._given_up)
                await engine.park(http, place)
            reason = await self._seen(engine.parked_bytes)
        except ParkFailed as error:
            reason = str(error)
        except TimeoutError:
            reason = f"it was not done within {PARK_S:g} s"
        if reason is not None:
            log.warning("not parked", model=self._order.spec.id, reason=reason)
        self._post(Event.PARKED if reason is None else Event.PARK_FAILED)
        return reason is None

    async def _wake(self, engine: Parks, http: WorkerHttp, place: WorkerPlace) -> None:
        """Tells it to load. Raises RoostError."""
        order = self._order
        await check_files(order, order.spec.files, order.spec.id)
        try:
            await engine.wake(http, place)
        except ParkFailed as error:
            raise WorkerFailed(f"cannot load {order.spec.id}: {error}") from error
        self.parked = False

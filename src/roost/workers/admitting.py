"""Before a start: its memory is promised, or who is in the way goes, or it is refused. It acts; `memory` decides.

Nobody goes for a start that is refused then, and nobody comes before the memory of those who went was seen to be back.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

import structlog

from roost.errors import InsufficientMemory
from roost.workers.allowed import Admission, Crowd
from roost.workers.answers import answer_wanted, fail_waiting, new_future
from roost.workers.gate import Gate
from roost.workers.lifecycle import MOVING, Event, State
from roost.workers.orders import World
from roost.workers.placing import may_go_at
from roost.workers.residency import ModelView, Rules
from roost.workers.spares import Spares
from roost.workers.start import StartOrder
from roost.workers.station import Station

log = structlog.get_logger(__name__)


class Admitting(ABC):
    """The part of the pool that stands between a wish and a start."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stations: dict[str, Station] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._gate = Gate(
            world.memory, world.host, lambda: world.settings().memory, world.peaks, holdings=world.holdings
        )
        self._spares = Spares(world, self._gate, self._begin, self._is_moving, self._is_busy)

    @abstractmethod
    def now(self) -> float: ...

    @abstractmethod
    def _rules(self) -> Rules: ...

    @abstractmethod
    def _replan(self) -> None: ...

    @abstractmethod
    def _post(self, station: Station, event: Event) -> None: ...

    def _begin(self, work: Coroutine[Any, Any, None], name: str = "spare") -> None:
        assert self._tasks is not None
        self._tasks.create_task(work, name=name)

    def _is_moving(self) -> bool:
        """Whether a model is being loaded or stopped."""
        return any(station.state in MOVING for station in self._stations.values())

    def _is_busy(self) -> bool:
        return any(station.running for station in self._stations.values())

    def _view(self, station: Station) -> ModelView:
        return station.view(pinned=station.model_id in self._world.settings().residency.pinned)

    def _refused(self, station: Station, error: InsufficientMemory) -> None:
        """No start was begun, so that there is nothing to back off from: the next request asks again."""
        log.warning("load refused", model=station.model_id, reason=error.message)
        station.last_failure = error
        fail_waiting(station, error)
        answer_wanted(station, error)

    # The promise.

    async def _admitted(self, station: Station, order: StartOrder) -> Admission:
        """Raises InsufficientMemory when not even those who may go now would make room."""
        try:
            return await self._gate.admit(station.start_id, order, station.effective, self._spares)
        except InsufficientMemory as error:
            if self._gate.closed is not None or not error.should_retry or not await self._make_room(station, order):
                raise
        return await self._gate.admit(station.start_id, order, station.effective, self._spares)

    async def _make_room(self, station: Station, order: StartOrder) -> bool:
        """Unloads the idle residents that are in the way of a start; returns once their memory was seen to be back.
        False: the start would not fit even then, and nobody was asked to go."""
        crowd = [Crowd(one.start_id, one.last_active) for one in self._movable_for(station)]
        going = await self._gate.in_the_way(order, station.effective, self._spares, crowd)
        # Somebody may have become busy meanwhile.
        leaving = [one for one in self._movable_for(station) if one.start_id in going]
        if not going or len(leaving) < len(going):
            return False
        gone = []
        for one in leaving:
            log.info("unloaded to make room in memory", model=one.model_id, coming=station.model_id)
            one.left_at = self.now()
            gone.append(new_future())
            one.gone_waiters.append(gone[-1])
            self._post(one, Event.DRAIN)
        await asyncio.wait(gone)
        return True

    def _movable_for(self, station: Station) -> list[Station]:
        """Idle residents that the rules of residency let go for this model now."""
        candidate, now = self._view(station), self.now()
        found = []
        for one in self._stations.values():
            view = self._view(one)
            if one is station or view.state is not State.READY or not view.idle:
                continue
            when = may_go_at(view, candidate, self._rules(), now)
            if when is not None and when <= now:
                found.append(one)
        return found

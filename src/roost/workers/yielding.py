"""The pool gives way: what a claim changes for loaded models, who went for it, and whose memory is away."""

from __future__ import annotations

import asyncio

import structlog

from roost.config.settings import CoexistenceSettings
from roost.errors import RoostError
from roost.host.memory_types import ProcessMemory, SensorFailed
from roost.workers.claim import Claim, Mode
from roost.workers.guard import Guarded
from roost.workers.lifecycle import STARTABLE, Event, State
from roost.workers.station import Station
from roost.workers.warmth import Warmth, cold_text

log = structlog.get_logger(__name__)


class Yielding(Guarded):
    """The guarded floor on a machine that somebody works at."""

    def claim(self, claim: Claim) -> None:
        """From now on, for those that are loaded too: running requests end as they would have."""
        self._claim = claim
        pinned = self._world.settings().residency.pinned
        for station in self._stations.values():
            station.claim = claim.of_one(pinned=station.model_id in pinned)
        self._replan()

    @property
    def claimed(self) -> Claim:
        """What models may claim now."""
        return self._claim

    def gave_way(self) -> tuple[str, ...]:
        """Models that are away for a claim alone, and that nobody has asked for since."""
        return tuple(s.model_id for s in self._stations.values() if s.gave_way and s.state in STARTABLE)

    def at_work(self) -> str | None:
        """What would be lost if the machine fell asleep now, for people; None: nothing."""
        running = sum(len(station.running) for station in self._stations.values())
        if running:
            return "a request runs" if running == 1 else f"{running} requests run"
        coming = next((station.model_id for station in self._stations.values() if station.coming), None)
        return f"{coming} is loading" if coming else None

    # Memory that is away.

    async def look_for_cold(self, settings: CoexistenceSettings) -> None:
        """Looks at every idle model, and does with a cold one as the settings say."""
        for station in tuple(self._stations.values()):
            if _rests(station) and station.run is not None and station.run.pid is not None:
                await self._look_at(station, station.run.pid, settings)
            elif station.state is not State.READY:
                station.warmth, station.cold = Warmth(), None

    async def _look_at(self, station: Station, pid: int, settings: CoexistenceSettings) -> None:
        try:
            found = await asyncio.to_thread(self._memory_of, pid)
        except SensorFailed:
            return
        station.warmth = station.warmth.seen(found)
        if not station.warmth.suspicious(settings.cold_share) or not _rests(station):
            return
        if await self._makes_a_token(station, settings.cold_probe_s):
            # It has given that back by itself, or the machine is quick: what it has now is the new measure.
            station.warmth, station.cold = Warmth(), None
            return
        if station.cold is None:
            station.cold = cold_text(station.warmth, settings.cold_probe_s)
            log.warning("cold", model=station.model_id, why=station.cold)
        await self._mend(station, settings)

    async def _mend(self, station: Station, settings: CoexistenceSettings) -> None:
        warms = settings.cold_action == "warm" or (settings.cold_action == "auto" and self._claim.mode is Mode.FULL)
        if warms and station.run is not None:
            if await self._makes_a_token(station, station.run.order.knobs.load_deadline_s):
                station.warmth, station.cold = Warmth(), None
                log.info("warm again", model=station.model_id)
        elif settings.cold_action != "leave" and _rests(station):
            station.left_at, station.gave_way = self.now(), True
            self._post(station, Event.DRAIN)

    async def _makes_a_token(self, station: Station, within_s: float) -> bool:
        """A worker that fails at it is no case of cold: the next request, or the wedge watch, finds that."""
        assert station.run is not None
        try:
            async with asyncio.timeout(within_s):
                await station.run.make_token()
        except TimeoutError:
            return False
        except RoostError as error:
            log.info("no token to look for cold", model=station.model_id, reason=error.message)
        return True

    def _memory_of(self, pid: int) -> list[ProcessMemory]:
        """Blocking. Raises SensorFailed."""
        found = (self._world.memory.process(one) for one in self._world.host.tree(pid))
        return [process for process in found if process]


def _rests(station: Station) -> bool:
    return station.state is State.READY and not station.running and not station.waiting

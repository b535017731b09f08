"""Looks at the machine now and then, asks `workers.coexistence` for the mode, and tells the pool what it may claim."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from roost.api import CoexistenceReport
from roost.config.settings import CoexistenceSettings
from roost.daemon.awake import Awake, wanted
from roost.host.memory_types import HostMemory, MemorySensor, SensorFailed
from roost.host.power_types import Busyness, Power, PowerSensor
from roost.host.types import Host
from roost.workers.claim import FULL
from roost.workers.coexistence import (
    Coexistence,
    Sight,
    Used,
    claim_of,
    may_preload,
    others_percent,
    step,
)
from roost.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

#: How often it looks while a model is loaded or away for this, and while there is nothing to decide.
PERIOD_S, IDLE_PERIOD_S = 5.0, 20.0


class Coexisting:
    """One a daemon. `come_back` is called when those that went may be loaded again."""

    def __init__(
        self,
        power: PowerSensor,
        memory: MemorySensor,
        host: Host,
        pool: Supervisor,
        settings: Callable[[], CoexistenceSettings],
        come_back: Callable[[], None],
        awake: Awake | None = None,
    ) -> None:
        self._power, self._memory, self._host = power, memory, host
        self._pool, self._settings, self._come_back = pool, settings, come_back
        self._awake = awake or Awake()
        self._now = Coexistence()
        self._used: Used | None = None
        self.on_battery: bool | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.look()
                matters = self._pool.gave_way() or any(view.pid for view in self._pool.views())
                await asyncio.sleep(PERIOD_S if matters else IDLE_PERIOD_S)
        finally:
            await asyncio.shield(self._awake.let_go())

    async def look(self) -> None:
        settings = self._settings()
        if not _works(settings):
            self._used = self.on_battery = None
            self._follow(Coexistence(), settings)
            await self._awake.let_go()
            return
        pids = [view.pid for view in self._pool.views() if view.pid is not None]
        seen = self._seen(*await asyncio.to_thread(self._read, pids))
        self.on_battery = seen.power.on_battery
        self._follow(step(self._now, seen, settings), settings)
        if self._pool.gave_way() and may_preload(self._now, seen, settings):
            self._come_back()
        await self._awake.follow(wanted(settings, self._pool.at_work(), self.on_battery))
        await self._pool.look_for_cold(settings)

    def report(self) -> CoexistenceReport:
        """For status."""
        settings = self._settings()
        if not _works(settings):
            return CoexistenceReport(profile=settings.profile, mode="off")
        claim = claim_of(self._now.mode, settings)
        return CoexistenceReport(
            profile=settings.profile,
            mode=claim.mode.value,
            reasons=self._now.reasons,
            idle_ttl_s=claim.idle_ttl_s,
            sequences=claim.sequences,
            awake=self._awake.why,
            awake_problem=self._awake.problem,
            gave_way=self._pool.gave_way(),
        )

    def _follow(self, now: Coexistence, settings: CoexistenceSettings) -> None:
        before, self._now = self._now, now
        if now.mode is not before.mode:
            log.info("mode", mode=now.mode.value, reasons=now.reasons)
        claim = claim_of(now.mode, settings) if _works(settings) else FULL
        if claim != self._pool.claimed:
            self._pool.claim(claim)

    def _read(self, pids: list[int]) -> tuple[Power, HostMemory | None, Used]:
        """Blocking."""
        try:
            memory = self._memory.memory()
        except SensorFailed:
            memory = None
        busyness: Busyness = self._power.busyness()
        own = self._host.usage(one for pid in pids for one in self._host.tree(pid)).cpu_s + time.process_time()
        return self._power.power(), memory, Used(time.monotonic(), busyness, own)

    def _seen(self, power: Power, memory: HostMemory | None, used: Used) -> Sight:
        before, self._used = self._used, used
        return Sight(used.at_s, power, memory, others_percent(before, used), used.busyness.untouched_s)


def _works(settings: CoexistenceSettings) -> bool:
    return settings.enabled and settings.profile == "workstation"

"""One spare, from its start until it is a worker or gone: it acts and reports facts, `Spares` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roost.config.settings import Knobs
from roost.engines.launchers.spare import STANDING_BY
from roost.engines.types import LaunchPlan, StandbyPlan, StandsBy, WorkerPlace
from roost.errors import RoostError
from roost.host.types import Host, Usage
from roost.workers.ends import exit_text
from roost.workers.logs import WorkerLog
from roost.workers.places import make_place, remove_place
from roost.workers.process import Attended, StartFailed, spawn
from roost.workers.reap import WorkerRecord
from roost.workers.standby import Event
from roost.workers.start import StartOrder

#: How often its memory is looked at.
USAGE_PERIOD_S = 10.0
_MARK = STANDING_BY.encode()


@dataclass(frozen=True)
class SpareOrder:
    """What is to be started, and where it keeps its files."""

    name: str
    engine: StandsBy
    knobs: Knobs
    run_dir: Path
    records: Path
    log: Path
    log_cap_bytes: int


class Spare:
    """One process. Until it is taken, its place on disk and its end are its own; then they are the worker's."""

    def __init__(self, order: SpareOrder, host: Host, post: Callable[[Event], None], measured: Callable[[], None]):
        self.order = order
        self.place: WorkerPlace | None = None
        self.plan: StandbyPlan | None = None
        self.usage = Usage(0.0, 0)
        self.started_at = time.time()
        self.imported_at: float | None = None
        self.taken = False
        #: Set when nothing of the process is left.
        self.gone = asyncio.Event()
        self._host = host
        self._post = post
        self._measured = measured
        self._attended: Attended | None = None
        self._ending = False
        self._imported = asyncio.Event()
        self._failure: str | None = None
        self._heard = b""
        self._log = WorkerLog(order.log, order.log_cap_bytes)

    @property
    def pid(self) -> int | None:
        return self._attended.process.pid if self._attended else None

    @property
    def can_become_worker(self) -> bool:
        return self._attended is not None and not self._attended.process.gone.is_set() and not self._ending

    def end(self) -> None:
        self._ending = True
        if self._attended:
            self._attended.process.kill()

    async def ended(self) -> None:
        """Ends it, whatever it has become; returns when nothing of it is left."""
        self.end()
        await self.gone.wait()

    def why_lost(self) -> str:
        """Why it ended although nobody asked it to."""
        if self._failure:
            return self._failure
        code = self._attended.process.exit_code if self._attended else None
        said = f"; its last line: {line}" if (line := self._log.last_line()) else ""
        return f"a spare of {self.order.name} {exit_text(code or 0)}{said}"

    async def main(self) -> None:
        """Returns when the process is gone, whoever has it by then; never raises but for cancellation."""
        try:
            self.place = await asyncio.to_thread(make_place, self.order.run_dir)
            await self._live(self.place)
        except (RoostError, StartFailed, OSError) as error:
            self._failure = f"cannot start a spare of {self.order.name}: {error}"
        finally:
            self.end()
            if self.place and not self.taken:
                await asyncio.shield(asyncio.to_thread(remove_place, self.place, self.order.records))
            self._log.close()
            self.gone.set()

    async def _live(self, place: WorkerPlace) -> None:
        self.plan = await asyncio.to_thread(self.order.engine.standby, self.order.knobs, place)
        if self.plan is None:
            raise StartFailed("the engine is not installed")
        # The record comes first: a daemon killed in between leaves nothing that the next one cannot find.
        what = f"a spare of {self.order.name}"
        record = WorkerRecord(place.nonce, what, None, str(place.home), str(place.socket_path))
        await asyncio.to_thread(record.write, self.order.records)
        self._attended = await self._start(self.plan)
        if self._ending:
            self._attended.process.kill()
        async with asyncio.TaskGroup() as group:
            measuring = group.create_task(self._measure(self._attended))
            await self._attended.attend()
            measuring.cancel()

    async def _start(self, plan: StandbyPlan) -> Attended:
        high = self.order.knobs.process_priority == "high"
        return Attended(*await spawn(plan, self._host, high_priority=high), self._hear)

    def _hear(self, chunk: bytes) -> None:
        self._log.feed(chunk)
        if not self._imported.is_set():
            self._heard = (self._heard + chunk)[-4096:]
            if _MARK in self._heard:
                self.imported_at = time.time()
                self._imported.set()
                self._post(Event.IMPORTED)

    async def _measure(self, attended: Attended) -> None:
        await self._imported.wait()
        while not self.taken:
            self.usage = await asyncio.to_thread(lambda: self._host.usage(attended.process.tree()))
            self._measured()
            await asyncio.sleep(USAGE_PERIOD_S)

    async def hand_over(self, plan: LaunchPlan, feed: Callable[[bytes], None]) -> Attended | None:
        """Makes it the worker of this plan, whose output goes to `feed`. None: it cannot become that, or is gone; then
        it is ended, and its place is free for another process."""
        attended, mine = self._attended, self.plan
        assert self.taken
        fits = attended is not None and mine is not None and dict(mine.env) == dict(plan.env) and plan.stdin is not None
        if attended and fits:
            attended.feed = feed
            self._log.close()
            if await attended.process.tell(plan.stdin or b""):
                return attended
        self.end()
        return None


async def worker_process(
    order: StartOrder,
    plan: LaunchPlan,
    spare: Spare | None,
    host: Host,
    feed: Callable[[bytes], None],
) -> Attended:
    """The process of a start: the spare that was taken for it, else one of its own in the same place. Nobody listens
    to it yet. Raises StartFailed."""
    if spare and (attended := await spare.hand_over(plan, feed)):
        return attended
    return Attended(*await spawn(plan, host, high_priority=order.knobs.process_priority == "high"), feed)

"""One soak: traffic and faults in two halves, a rest after each, the end, and the record of all that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from roost.catalog.compose import EMBEDDED_ID
from roost.testing.wait import DeadlineExceeded, until
from tests.soak import answers, traces
from tests.soak.asked import Asked, Mix
from tests.soak.daemon import CANARY, Daemon, processes_of, running
from tests.soak.faults import OF_FILES, OF_PROCESSES, Injector
from tests.soak.record import Ending, Fault, Footprint, Record, Request, Rest
from tests.soak.scene import CALM, DEFT, DRAIN_S, LOG_CAP_BYTES, MAX_WAIT_S, Scene
from tests.soak.wire import Idle, exchange

_SETTLE_S = 20.0
_THINK_S = 0.4
#: Clients that leave while they wait for a load.
_LEAVING = 8
#: A client that finds nobody comes again after so long.
_NOBODY_S = 1.0
#: Begins every nonce and every id. The ids stand in logs, so prompts and ids begin differently.
_IDS, _NONCES = "soak", "zqnonce"


@dataclass(frozen=True)
class Half:
    """A stretch of traffic: at least so long, and until each of these faults was done once."""

    seconds: float
    of_processes: tuple[str, ...]
    of_files: tuple[str, ...]


@dataclass(frozen=True)
class Course:
    """What a soak does."""

    halves: tuple[Half, Half]
    seed: int
    herd: int
    idle: int
    #: Mean time between two faults of a lane.
    rest_s: float
    #: A request that takes longer is hung: a wedge, a slow exit and a load may lie in its way.
    deadline_s: float


def long_course(minutes: float, seed: int) -> Course:
    """Everything, again and again. The daemon is killed in the first half, so that the second shows what grows."""
    half = minutes * 30
    kinds = ("kill daemon", *OF_PROCESSES)
    return Course(
        (Half(half, kinds, OF_FILES), Half(half, OF_PROCESSES, OF_FILES)), seed, 200, 200, rest_s=3.0, deadline_s=120.0
    )


def short_course(seed: int) -> Course:
    """Each kind of fault about once."""
    first = Half(15.0, ("kill daemon", "kill worker", "kill loading"), OF_FILES[::2])
    second = Half(15.0, ("hold worker", "pause worker", "herd", "kill guardian"), OF_FILES[1::2])
    return Course((first, second), seed, herd=40, idle=50, rest_s=1.0, deadline_s=60.0)


@dataclass
class Soak:
    """One run over one prepared scene."""

    scene: Scene
    course: Course
    requests: list[Request] = field(default_factory=list)
    _idle: Idle = field(default_factory=Idle)

    def __post_init__(self) -> None:
        cast, seed = self.scene.cast, self.course.seed
        self._mixes = {name: Mix(cast, _NONCES, name, key, seed) for name, key in self.scene.keys.items()}
        key = next(iter(self.scene.keys.values()))
        self._checks = Mix(cast, _NONCES, "checker", key, seed)
        prober = Mix(cast, _NONCES, "prober", key, seed)
        self._injector = Injector(self.scene, self.send, prober, seed, self.course.herd)
        words = (_NONCES, CANARY, *(key.rpartition("-")[2] for key in self.scene.keys.values()))
        self._exposure = traces.Exposure(tuple(word.encode() for word in words))

    @property
    def daemon(self) -> Daemon:
        return self.scene.daemon

    async def send(self, asked: Asked) -> Request:
        """One request, recorded."""
        heard = await exchange(self.daemon.port, asked, self.course.deadline_s)
        request = answers.read(asked, heard, self.scene.cast)
        self.requests.append(request)
        return request

    async def run(self) -> Record:
        """All of it."""
        started = time.monotonic()
        async with running(self.daemon):
            await self._half(self.course.halves[0])
            counters = await self._counters("first")
            first, before = await self._at_rest(None), len(self.requests)
            await self._half(self.course.halves[1])
            counters |= await self._counters("second")
            between = len(self.requests) - before
            last = await self._at_rest(first)
            left = traces.left_in_run(self.daemon.home, traces.nonces(self.daemon.home))
            self.daemon.look()
            code, stop_s, left_after = await self._end()
            self._exposure.look_at_files(self.daemon.home)
        rest = Rest(
            counters=counters,
            first=first,
            last=last,
            requests_between=between,
            left_behind=tuple(left + left_after),
            exposed=tuple(sorted(self._exposure.found)),
            log_bytes=traces.log_sizes(self.daemon.logs),
            log_cap_bytes=LOG_CAP_BYTES,
            stop_s=stop_s,
            exit_code=code,
        )
        return self._record(time.monotonic() - started, rest)

    def _record(self, seconds: float, rest: Rest) -> Record:
        journal = traces.read_journal(self.daemon.logs, _IDS)
        faults = self._injector.faults
        broken = [text for at, text in journal.broken if not _while_disk_full(at, faults)]
        broken += ["a traceback on stderr"] if "Traceback" in self.daemon.errors() else []
        return Record(
            seconds=seconds,
            drain_s=DRAIN_S,
            max_wait_s=MAX_WAIT_S,
            requests=tuple(self.requests),
            lines=journal.lines,
            facts=journal.facts,
            faults=tuple(faults),
            herds=tuple(self._injector.herds),
            roles=dict(self.scene.cast.roles),
            broken=(*self.daemon.deaths, *broken),
            rest=rest,
        )

    # Traffic and faults.

    async def _half(self, half: Half) -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for mix in self._mixes.values():
                group.create_task(self._consume(mix, over))
            group.create_task(self._check())
            helper = group.create_task(self._watch())
            end = time.monotonic() + half.seconds
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._lane(half.of_processes, end, files=False))
                lanes.create_task(self._lane(half.of_files, end, files=True))
            over.set()
            helper.cancel()
        self._idle.close()
        await self._leave_the_line()

    async def _leave_the_line(self) -> None:
        """Last, so that nothing that happens afterwards hides who is still counted."""
        await self._injector.unload(DEFT)
        await asyncio.gather(*(self.send(self._checks.leaving_the_line(DEFT)) for _ in range(_LEAVING)))

    async def _consume(self, mix: Mix, over: asyncio.Event) -> None:
        while not over.is_set():
            request = await self.send(mix.next())
            pause_s = _NOBODY_S if request.ending is Ending.REFUSED else mix.pause_s(_THINK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await over.wait()

    async def _check(self) -> None:
        """What no half may leave to chance."""
        async with self._injector.daemon_is_up:
            for asked in self._checks.certain():
                await self.send(asked)

    async def _lane(self, kinds: tuple[str, ...], end: float, *, files: bool) -> None:
        """Rounds of all kinds, each in another order; the first one always to its end."""
        # The daemon's own end comes first: what is measured afterwards is measured of one process.
        order = ["kill daemon"] if "kill daemon" in kinds else []
        order += self._injector.shuffled(tuple(kind for kind in kinds if kind != "kill daemon"))
        first = True
        while first or time.monotonic() < end:
            for kind in order:
                if not first and time.monotonic() >= end:
                    break
                if files:
                    async with self._injector.daemon_is_up:
                        await self._injector.do(kind)
                else:
                    await self._injector.do(kind)
                await asyncio.sleep(self._injector.pause_s(self.course.rest_s))
            order, first = self._injector.shuffled(kinds), False

    async def _watch(self) -> None:
        """Keeps idle connections open, and looks at the processes."""
        while True:
            with suppress(OSError, EOFError):
                await self._idle.open(self.daemon.port, self.course.idle)
            await asyncio.to_thread(self._exposure.look_at_processes, self.daemon.home)
            if not self._injector.daemon_is_up.locked():
                self.daemon.look()
            await asyncio.sleep(2.0)

    # The rest.

    async def _counters(self, half: str) -> dict[str, int]:
        """Who is counted as running or waiting when nobody asks; what does not go away within seconds stays."""
        found: dict[str, int] = {}

        async def none() -> bool:
            nonlocal found
            _, metrics = await self.daemon.ask("GET", "/metrics")
            workers = await self.daemon.workers()
            found = traces.counters(metrics.decode(), workers)
            for model, worker in workers.items():
                if worker["state"] == "ready":
                    found[f"{model} itself"] = await self._busy(model)
            return not any(found.values())

        with suppress(DeadlineExceeded):
            await until(none, timeout_s=5)
        return {f"{name} ({half} half)": count for name, count in found.items()}

    async def _busy(self, model: str) -> int:
        """Requests that the engine itself still works for."""
        status, body = await self.daemon.ask("GET", f"/upstream/{model}/slots")
        slots = json.loads(body) if status == 200 else []
        return sum(bool(slot["is_processing"]) for slot in slots)

    async def _at_rest(self, first: Footprint | None) -> Footprint:
        """One model loaded, nobody there: what the daemon holds once it has let go of the rest."""
        await until(self._none_loaded, timeout_s=_SETTLE_S, what="no model is loaded")
        await self.daemon.ask("POST", f"/roost/v1/models/{EMBEDDED_ID}/load")
        if first is None:
            return await self.daemon.settled_footprint()
        last = await self.daemon.footprint()

        async def no_more() -> bool:
            nonlocal last
            last = await self.daemon.footprint()
            return last.descriptors <= first.descriptors and (last.tasks or 0) <= (first.tasks or 0)

        with suppress(DeadlineExceeded):
            await until(no_more, timeout_s=_SETTLE_S)
        return last

    async def _none_loaded(self) -> bool:
        """A start that has no process yet counts: it would be a model more later on."""
        states = {model: worker["state"] for model, worker in (await self.daemon.workers()).items()}
        coming = [model for model, state in states.items() if state not in ("stopped", "failed")]
        for model in coming:
            await self.daemon.ask("POST", f"/roost/v1/models/{model}/unload")
        return not coming

    # The end.

    async def _end(self) -> tuple[int | None, float, list[str]]:
        """SIGTERM under load; the exit code, the seconds, and what is there afterwards."""
        mix = next(iter(self._mixes.values()))
        began_at = time.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(self.send(mix.endless(CALM)))
            with suppress(DeadlineExceeded):
                await until(self._serves_streams, timeout_s=20)
            code, stop_s = await self.daemon.stop(DRAIN_S + 20)
        self._injector.faults.append(Fault("stop", None, began_at, time.time()))
        with suppress(DeadlineExceeded):
            await until(lambda: not processes_of(self.daemon.home), timeout_s=2)
        left = [f"process {process.pid}" for process in processes_of(self.daemon.home)]
        left += [f"file {name}" for name in traces.temporary_files(self.daemon.home)]
        return code, stop_s, left + [name for name in traces.left_in_run(self.daemon.home) if name]

    async def _serves_streams(self) -> bool:
        return int((await self.daemon.workers()).get(CALM, {}).get("running", 0)) >= 4


def _while_disk_full(at: float | None, faults: Iterable[Fault]) -> bool:
    if at is None:
        return False
    return any(fault.kind == "full disk" and fault.began_at <= at <= fault.ended_at + 1 for fault in faults)


async def soak(scene: Scene, course: Course) -> Record:
    """Run a course over a prepared scene."""
    try:
        return await Soak(scene, course).run()
    except aiohttp.ClientError as error:
        told = f"{scene.daemon.deaths} {scene.daemon.errors()[-2000:]}"
        raise RuntimeError(f"the daemon cannot be asked any more ({error}): {told}") from error

"""The gate before every start: it reads the machine, asks `memory.decision`, and keeps the book of promises.

A promise is made in the event loop's thread, in one step with the verdict that allows it, so that two starts never get
the same memory. It counts from before the process is there until its memory was seen to have come back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import structlog

from roost.config.settings import MemorySettings
from roost.engines.types import Available, Engine
from roost.errors import InsufficientMemory
from roost.host.memory_types import Gpu, MemorySensor, SensorFailed, UnreadableGpu
from roost.host.types import Host
from roost.memory import ledger
from roost.memory.admission import RETRY_AFTER_S, AdmitAlone, Refuse
from roost.memory.budget import HOST, host_limits, watchdog_reserve
from roost.memory.decision import decide, worth_asking
from roost.memory.dry_run import DryRunFailed
from roost.memory.learned import Run
from roost.memory.ledger import Entry, Ledger
from roost.memory.lines import Beyond, Lines, lines_of
from roost.memory.plan import machine_of
from roost.memory.types import DryRun, LoadShape
from roost.workers.allowed import (
    Admission,
    Crowd,
    Reading,
    Seen,
    Spared,
    View,
    admission_of,
    ask_engine,
    elsewhere,
    gpu_free,
    held_of,
    peak_key,
    promise_of,
    promise_told,
    question_of,
    who_goes,
)
from roost.workers.holding import Holdings
from roost.workers.peaks import PeakBook
from roost.workers.returning import RELEASE_LOOK_S, GpuMarks, returned
from roost.workers.sampling import Sampler
from roost.workers.start import StartOrder

log = structlog.get_logger(__name__)

#: Accounts of engines that are remembered; each is of one way of starting.
_ACCOUNTS_KEPT = 64
#: How long a parked worker's memory may take to be seen to be gone.
PARK_SEEN_S = 3.0


@dataclass
class Gate:
    """One a pool. Its methods belong to the event loop's thread."""

    sensor: MemorySensor
    host: Host
    settings: Callable[[], MemorySettings]
    peaks: PeakBook = field(default_factory=PeakBook)
    book: Ledger = field(default_factory=Ledger)
    holdings: Holdings = field(default_factory=Holdings)
    #: Why nothing may be loaded at present; None: it may.
    closed: str | None = None
    _unsized: set[str] = field(default_factory=set)
    _pids: dict[str, Callable[[], int | None]] = field(default_factory=dict)
    #: This machine's memory (0: not read yet), and its GPUs as last read.
    _total_bytes: int = 0
    #: Bytes free on its GPUs before a start, and while it was resident.
    _gpu_marks: dict[str, GpuMarks] = field(default_factory=dict)
    _gpus: tuple[Gpu | UnreadableGpu, ...] = ()
    #: What the running starts were seen to take, and the names of their ways of starting.
    _peaks: dict[str, Seen] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _tripped: dict[str, int] = field(default_factory=dict)
    _accounts: dict[str, DryRun | DryRunFailed] = field(default_factory=dict)
    #: Ends the questions to engines that are under way.
    _closing: threading.Event = field(default_factory=threading.Event)

    async def admit(self, start: str, order: StartOrder, effective: str, spared: Spared) -> Admission:
        """Reserves memory for a start. Raises InsufficientMemory, with the numbers and what would fit."""
        if admission := elsewhere(order):
            return admission
        becoming = spared.becoming(order)
        try:
            view = await self._verdict(order, effective, becoming)
        except InsufficientMemory as error:
            if self.closed is not None or not error.should_retry or not await spared.give_up(becoming):
                raise
            view = await self._verdict(order, effective, becoming)
        self.book = self.book.reserve(Entry(start, order.spec.id, promise_of(view.verdict)))
        if isinstance(view.verdict, AdmitAlone):
            self._unsized.add(start)
        if names := self._gpu_names(start):
            self._gpu_marks[start] = GpuMarks(gpu_free(self._gpus, names))
        admission = admission_of(order, view)
        self._keys[start] = admission.peak_key
        sizer = view.question.sizer
        means = self.holdings.choose(start, order, sizer.shape.device if sizer else None)
        told = promise_told(view.verdict)
        log.info("memory promised", model=order.spec.id, start=start, **told, why=admission.note, held_by=means.value)
        return admission

    async def appraise(self, order: StartOrder, effective: str, leaving: frozenset[str]) -> None:
        """Whether it would fit once these models have gone: nobody is sent away for a start that is refused then.
        Raises InsufficientMemory."""
        if elsewhere(order) is None:
            await self._verdict(order, effective, leaving)

    async def in_the_way(
        self, order: StartOrder, effective: str, spared: Spared, crowd: Sequence[Crowd]
    ) -> frozenset[str]:
        """Who of the crowd must go so that a start fits that was refused; nobody: it would not. Raises
        InsufficientMemory when the machine cannot be read."""
        if not crowd:
            return frozenset()
        view = await self._look(order, effective, spared.names(), self._accounts.get(effective))
        taken = {one.start: self.private_bytes(one.start) for one in crowd}
        return frozenset(who_goes(view, self.book.entries, crowd, taken))

    def hold(self, name: str, holder: str, size_bytes: int, pid: Callable[[], int | None]) -> None:
        """A promise to a process that is no worker."""
        self.book = self.book.reserve(Entry(name, holder, {HOST: size_bytes}))
        self.started(name, pid)

    def resize(self, name: str, size_bytes: int) -> None:
        """What it was seen to take."""
        self.book = self.book.resized(name, {HOST: size_bytes})

    def drop(self, name: str) -> None:
        """Nothing of it runs any more, or it is a worker now."""
        self._pids.pop(name, None)
        self.holdings.ended(name)
        self._peaks.pop(name, None)
        self.book = self.book.post(name, ledger.Event.ENDED).post(name, ledger.Event.VERIFIED)

    def unpromised_bytes(self, total_bytes: int) -> int:
        """Of the memory that the settings leave to models on a machine of this size; below 0: they were changed."""
        most = host_limits(self.settings(), total_bytes).day_bytes - watchdog_reserve()
        return most - self.book.reserved_on(HOST)

    def close(self) -> None:
        """Answers nobody's question any more."""
        self._closing.set()

    def started(
        self, start: str, pid: Callable[[], int | None], hold_to: Callable[[Lines], None] = lambda lines: None
    ) -> None:
        """`pid`: of its process, once there is one. `hold_to`: tells its guardian."""
        self._pids[start] = pid
        self.holdings.started(start, hold_to)
        self.post(start, ledger.Event.SPAWNED)
        self._draw_lines(start, loading=True)

    def post(self, start: str, event: ledger.Event) -> None:
        self.book = self.book.post(start, event)
        if event is ledger.Event.READY:
            self.holdings.look(start)
            self._draw_lines(start, loading=False)

    def held_by(self, start: str) -> str | None:
        """What holds it to its promise, for people; None: nothing of it is here."""
        means = self.holdings.of(start)
        return means.value if means else None

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.sensor, self.host)

    def _draw_lines(self, start: str, *, loading: bool) -> None:
        entry = self.book.entries.get(start)
        if entry is None or not self._total_bytes:
            return
        promised = None if start in self._unsized else entry.bytes_by_device.get(HOST, 0)
        floor = host_limits(self.settings(), self._total_bytes).floor_bytes
        lines = lines_of(promised, self.unpromised_bytes(self._total_bytes), floor, loading=loading)
        self.holdings.draw(start, lines)

    async def ended(self, start: str, *, clean: bool, beyond: Beyond | None = None) -> None:
        """Nothing of it runs any more: returns once its memory was seen to have come back, or will not. `clean`: it
        went as it was asked to. `beyond`: what it had when its guardian ended it."""
        self._pids.pop(start, None)
        self.holdings.ended(start)
        if start not in self.book.entries:
            return
        if beyond and beyond.private_bytes > self.book.entries[start].bytes_by_device.get(HOST, 0):
            self._tripped[start] = beyond.private_bytes
            self._peaks[start] = Seen(0, beyond.private_bytes).after(self._peaks.get(start))
        self._learn(start, clean=clean)
        if self.book.entries[start].state is ledger.State.RESERVED:
            self.book = self.book.post(start, ledger.Event.GIVEN_UP)
        else:
            self.book = self.book.post(start, ledger.Event.ENDED)
            await self._released(start)
        self._unsized.discard(start)

    async def parked(self, start: str, most_bytes: int) -> str | None:
        """Its engine says that it has given its memory back: gives the promise back once that is seen, with at most
        `most_bytes` left. Why not, otherwise; then it still holds its promise."""
        deadline = asyncio.get_running_loop().time() + PARK_SEEN_S
        while (left := await asyncio.to_thread(self._private_now, start)) > most_bytes:
            if asyncio.get_running_loop().time() >= deadline:
                return f"it still has {left >> 20:,} MiB for itself, {most_bytes >> 20:,} at most are a parked one's"
            await asyncio.sleep(RELEASE_LOOK_S)
        if start not in self.book.entries:
            return "it ended"
        self._pids.pop(start, None)
        self._learn(start, clean=True)
        self.book = self.book.post(start, ledger.Event.ENDED)
        await self._released(start)
        self._unsized.discard(start)
        return "memory of a GPU did not come back" if start in self.book.entries else None

    def _private_now(self, start: str) -> int:
        """Blocking. Bytes that its processes have for themselves, in memory or swapped out."""
        pid = self._pids[start]() if start in self._pids else None
        found = [self.sensor.process(one) for one in self.host.tree(pid)] if pid is not None else []
        return sum(process.private_bytes + process.swapped_bytes for process in found if process)

    async def sample(self) -> None:
        """Looks at every running start. The kernel keeps their peaks, so that looking rarely is enough. Raises
        SensorFailed."""
        pids = {start: number for start, pid in self._pids.items() if (number := pid()) is not None}
        on_gpus = {start: names for start in pids if (names := self._gpu_names(start))}
        seen, free = await asyncio.to_thread(self._sampler.all_seen, pids, on_gpus)
        for start, now in seen.items():
            if start in self._pids:
                self._peaks[start] = now.after(self._peaks.get(start))
        for start, size in free.items():
            if start in self._pids:
                self._gpu_marks[start] = replace(self._gpu_marks.get(start, GpuMarks()), resident=size)

    def _gpu_names(self, start: str) -> list[str]:
        return [name for name in self.book.devices(start) if name != HOST]

    def has_unseen(self) -> bool:
        """Whether one runs that was not looked at yet."""
        return any(start not in self._peaks and pid() is not None for start, pid in self._pids.items())

    def seen_bytes(self, start: str) -> int:
        """The most on the host so far."""
        seen = self._peaks.get(start)
        return seen.peak_bytes if seen else 0

    def private_bytes(self, start: str) -> int:
        """What it has of the host's memory for itself, as last seen."""
        seen = self._peaks.get(start)
        return seen.private_bytes if seen else 0

    def offenders(self, limit_bytes: int) -> tuple[str, ...]:
        """The workers that have more than they were promised, while all together have more than they may."""
        taken = {start: seen.private_bytes for start, seen in self._peaks.items() if start in self.book.entries}
        if sum(taken.values()) <= limit_bytes:
            return ()
        entries = self.book.entries
        beyond = (start for start, size in taken.items() if size > entries[start].bytes_by_device.get(HOST, 0))
        return tuple(start for start in beyond if start in self._keys)

    def tripped(self, start: str, size_bytes: int) -> None:
        """It is ended for what it took: it needs at least so much."""
        self._tripped[start] = size_bytes

    def _learn(self, start: str, *, clean: bool) -> None:
        seen, key = self._peaks.pop(start, None), self._keys.pop(start, None)
        tripped = self._tripped.pop(start, None)
        if seen and seen.peak_bytes and key:
            run = Run(seen.peak_bytes, seen.gpu_bytes, clean=clean, killed_at_bytes=tripped)
            self.peaks.add(key, self.book.entries[start].model_id, run)

    # The verdict.

    async def _verdict(self, order: StartOrder, effective: str, leaving: frozenset[str]) -> View:
        """Never a refusal: that is raised. From the last reading to its return nothing else runs."""
        model_id = order.spec.id
        if self.closed is not None:
            raise InsufficientMemory(
                f"cannot load {model_id}: {self.closed}", should_retry=True, retry_after_s=RETRY_AFTER_S
            )
        told = self._accounts.get(effective)
        view = await self._look(order, effective, leaving, told)
        if told is None and worth_asking(view.question, view.verdict):
            told = await asyncio.to_thread(ask_engine, order, self._closing)
            self._remember(effective, told)
            view = await self._look(order, effective, leaving, told)
        if isinstance(view.verdict, Refuse):
            raise view.verdict.error(model_id)
        return view

    async def _look(
        self, order: StartOrder, effective: str, leaving: frozenset[str], told: DryRun | DryRunFailed | None
    ) -> View:
        pids = {start: pid() for start, pid in self._pids.items()}
        try:
            reading = await asyncio.to_thread(self._read, pids, order.engine)
        except SensorFailed as error:
            raise InsufficientMemory(
                f"cannot load {order.spec.id}: this machine does not tell its memory: {error}",
                should_retry=True,
                retry_after_s=RETRY_AFTER_S,
            ) from error
        self._total_bytes, self._gpus = reading.memory.total_bytes, reading.gpus
        settings = self.settings()
        held = held_of(self.book.entries, self._unsized, reading, leaving)
        machine = machine_of(reading.memory, reading.gpus, reading.cpu, settings, held)
        question = question_of(order, machine, None if isinstance(told, DryRunFailed) else told)

        def key(shape: LoadShape | None) -> str:
            return peak_key(order, reading, shape, effective)

        verdict = decide(question, machine, lambda shape: self.peaks.seen(key(shape)), allow_clamp=settings.allow_clamp)
        return View(verdict, question, machine, key)

    def _read(self, pids: Mapping[str, int | None], engine: Engine) -> Reading:
        """Blocking. Raises SensorFailed."""
        state = engine.availability()
        version = state.version if isinstance(state, Available) else ""
        gpus = self.sensor.gpus()
        own = {start: self._sampler.taken(pid, gpus) for start, pid in pids.items() if pid is not None}
        return Reading(self.sensor.memory(), gpus, self.sensor.cpu(), version, own)

    def _remember(self, effective: str, told: DryRun | DryRunFailed) -> None:
        while len(self._accounts) >= _ACCOUNTS_KEPT:
            self._accounts.pop(next(iter(self._accounts)))
        self._accounts[effective] = told

    # The end.

    async def _released(self, start: str) -> None:
        """The process is gone, and with it all that it had on the host; a driver may take seconds for a GPU's."""
        entry, marks = self.book.entries[start], self._gpu_marks.pop(start, None)
        if marks is not None and not await returned(self.sensor, entry, marks):
            # The promise stays: what did not come back cannot be promised to another.
            log.error("memory did not come back", model=entry.model_id, devices=sorted(entry.bytes_by_device))
            return
        self.book = self.book.post(start, ledger.Event.VERIFIED)

"""The gate before every start: it reads the machine, asks `memory.decision`, and keeps the book of promises.

A promise is made in the event loop's thread, in one step with the verdict that allows it, so that two starts never get
the same memory. It counts from before the process is there until its memory was seen to have come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from roost.config.settings import MemorySettings
from roost.engines.types import Available, Engine
from roost.errors import InsufficientMemory
from roost.host.memory_types import Gpu, GpuKind, HostMemory, MemorySensor, SensorFailed, UnreadableGpu
from roost.host.types import Host
from roost.memory import dry_run, ledger
from roost.memory.admission import RETRY_AFTER_S, Admit, AdmitAlone, Clamp, Refuse, Verdict
from roost.memory.budget import GIB, HOST
from roost.memory.decision import decide, worth_asking
from roost.memory.devices import visible
from roost.memory.dry_run import DryRunFailed
from roost.memory.learned import key_of
from roost.memory.ledger import Entry, Ledger
from roost.memory.needs import Need
from roost.memory.placement import placed
from roost.memory.plan import Held, Machine, Question, machine_of
from roost.memory.release import Release, Sight, judge
from roost.memory.sizing import Sizer
from roost.memory.types import DryRun, LoadShape, TellsMemory
from roost.workers.peaks import PeakBook
from roost.workers.start import StartOrder

log = structlog.get_logger(__name__)

#: Accounts of engines that are remembered; each is of one way of starting.
_ACCOUNTS_KEPT = 64
#: How long an engine may take over its account before formulas are all there is.
ACCOUNT_TIMEOUT_S = 20.0
#: How often memory that should come back is looked at.
RELEASE_LOOK_S = 0.1
_MIB = 2**20


@dataclass(frozen=True)
class Reading:
    """This machine and the workers on it, at one moment."""

    memory: HostMemory
    gpus: tuple[Gpu | UnreadableGpu, ...]
    cpu: tuple[str, frozenset[str]]
    #: Of the engine in question; "": unknown.
    engine_version: str = ""
    #: Bytes by start and device, as far as its processes have them now.
    own: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Admission:
    """What one start was allowed."""

    #: With the sizes that fit, where these are not those that were asked.
    order: StartOrder
    #: None: nobody knows its size.
    promised_bytes: int | None
    #: For people.
    note: str
    #: Names its way of starting, for the peak that it will show.
    peak_key: str


@dataclass
class Gate:
    """One a pool. Its methods belong to the event loop's thread."""

    sensor: MemorySensor
    host: Host
    settings: Callable[[], MemorySettings]
    peaks: PeakBook = field(default_factory=PeakBook)
    book: Ledger = field(default_factory=Ledger)
    #: Why nothing may be loaded at present; None: it may.
    closed: str | None = None
    _unsized: set[str] = field(default_factory=set)
    _pids: dict[str, Callable[[], int | None]] = field(default_factory=dict)
    #: Bytes free on its GPUs while a start was resident.
    _gpu_free: dict[str, int] = field(default_factory=dict)
    _accounts: dict[str, DryRun | DryRunFailed] = field(default_factory=dict)

    async def admit(self, start: str, order: StartOrder, effective: str) -> Admission:
        """Reserves memory for a start. Raises InsufficientMemory, with the numbers and what would fit."""
        view = await self._verdict(order, effective, frozenset())
        self.book = self.book.reserve(Entry(start, order.spec.id, _promise(view.verdict)))
        if isinstance(view.verdict, AdmitAlone):
            self._unsized.add(start)
        admission = _admission(order, view)
        log.info(
            "memory promised", model=order.spec.id, start=start, bytes=admission.promised_bytes, why=admission.note
        )
        return admission

    async def appraise(self, order: StartOrder, effective: str, leaving: frozenset[str]) -> None:
        """Whether it would fit once these models have gone: nobody is sent away for a start that is refused then.
        Raises InsufficientMemory."""
        await self._verdict(order, effective, leaving)

    def started(self, start: str, pid: Callable[[], int | None]) -> None:
        """`pid`: of its process, once there is one."""
        self._pids[start] = pid
        self.post(start, ledger.Event.SPAWNED)

    def post(self, start: str, event: ledger.Event) -> None:
        self.book = self.book.post(start, event)

    async def ended(self, start: str) -> None:
        """Nothing of it runs any more: returns once its memory was seen to have come back, or will not."""
        if start not in self.book.entries:
            return
        self._pids.pop(start, None)
        if self.book.entries[start].state is ledger.State.RESERVED:
            self.book = self.book.post(start, ledger.Event.GIVEN_UP)
        else:
            self.book = self.book.post(start, ledger.Event.ENDED)
            await self._released(start)
        self._unsized.discard(start)

    # The verdict.

    async def _verdict(self, order: StartOrder, effective: str, leaving: frozenset[str]) -> _View:
        """Never a refusal: that is raised. From the last reading to its return nothing else runs."""
        model_id = order.spec.id
        if self.closed is not None:
            raise InsufficientMemory(
                f"cannot load {model_id}: {self.closed}", should_retry=True, retry_after_s=RETRY_AFTER_S
            )
        told = self._accounts.get(effective)
        view = await self._look(order, effective, leaving, told)
        if told is None and worth_asking(view.question, view.verdict):
            told = await asyncio.to_thread(_ask, order)
            self._remember(effective, told)
            view = await self._look(order, effective, leaving, told)
        if isinstance(view.verdict, Refuse):
            raise view.verdict.error(model_id)
        return view

    async def _look(
        self, order: StartOrder, effective: str, leaving: frozenset[str], told: DryRun | DryRunFailed | None
    ) -> _View:
        pids = {start: pid() for start, pid in self._pids.items()}
        try:
            reading = await asyncio.to_thread(self._read, pids, order.engine)
        except SensorFailed as error:
            raise InsufficientMemory(
                f"cannot load {order.spec.id}: this machine does not tell its memory: {error}",
                should_retry=True,
                retry_after_s=RETRY_AFTER_S,
            ) from error
        settings = self.settings()
        machine = machine_of(reading.memory, reading.gpus, reading.cpu, settings, self._held(reading, leaving))
        question = _question(order, machine, None if isinstance(told, DryRunFailed) else told)

        def key(shape: LoadShape | None) -> str:
            return _peak_key(order, reading, shape, effective)

        verdict = decide(question, machine, lambda shape: self.peaks.seen(key(shape)), allow_clamp=settings.allow_clamp)
        return _View(verdict, question, machine, key)

    def _read(self, pids: Mapping[str, int | None], engine: Engine) -> Reading:
        """Blocking. Raises SensorFailed."""
        state = engine.availability()
        version = state.version if isinstance(state, Available) else ""
        gpus = self.sensor.gpus()
        own = {start: self._taken(pid, gpus) for start, pid in pids.items() if pid is not None}
        return Reading(self.sensor.memory(), gpus, self.sensor.cpu(), version, own)

    def _taken(self, pid: int, gpus: Iterable[Gpu | UnreadableGpu]) -> dict[str, int]:
        tree = self.host.tree(pid)
        seen = [process for one in tree if (process := self.sensor.process(one))]
        on_gpus = {gpu.uuid: sum(gpu.processes.get(one, 0) for one in tree) for gpu in gpus if isinstance(gpu, Gpu)}
        return {HOST: sum(process.private_bytes for process in seen), **on_gpus}

    def _held(self, reading: Reading, leaving: frozenset[str]) -> Held:
        """A worker's own memory counts up to its promise: what it takes beyond that is missing to all. Of unknown size,
        its promise is what it has. Whoever leaves gives back what it has, so that it holds no promise."""
        own: dict[str, int] = {}
        promised: dict[str, int] = {}
        for start, entry in self.book.entries.items():
            taken = reading.own.get(start, {})
            sizes = taken if start in self._unsized else entry.bytes_by_device
            for device, size in sizes.items():
                own[device] = own.get(device, 0) + min(taken.get(device, 0), size)
                if entry.model_id not in leaving:
                    promised[device] = promised.get(device, 0) + size
        return Held(own, promised)

    def _remember(self, effective: str, told: DryRun | DryRunFailed) -> None:
        while len(self._accounts) >= _ACCOUNTS_KEPT:
            self._accounts.pop(next(iter(self._accounts)))
        self._accounts[effective] = told

    # The end.

    async def _released(self, start: str) -> None:
        """The process is gone, and with it all that it had on the host; a driver may take seconds for a GPU's."""
        entry, free_before = self.book.entries[start], self._gpu_free.pop(start, None)
        waited_s = 0.0
        while free_before is not None:
            verdict = await asyncio.to_thread(self._judged, entry, free_before, waited_s)
            if verdict is Release.DONE:
                break
            if verdict is Release.HALT:
                # The promise stays: what did not come back cannot be promised to another.
                log.error("memory did not come back", model=entry.model_id, devices=sorted(entry.bytes_by_device))
                return
            await asyncio.sleep(RELEASE_LOOK_S)
            waited_s += RELEASE_LOOK_S
        self.book = self.book.post(start, ledger.Event.VERIFIED)

    def _judged(self, entry: Entry, free_before: int, waited_s: float) -> Release:
        """Blocking."""
        try:
            free = gpu_free(self.sensor.gpus(), entry.bytes_by_device)
        except SensorFailed:
            free = 0
        size = sum(size for device, size in entry.bytes_by_device.items() if device != HOST)
        return judge(Sight(True, 0, 0, 0, 0, size, free_before, free), waited_s)


@dataclass(frozen=True)
class _View:
    """One verdict and what it rests on."""

    verdict: Verdict
    question: Question
    machine: Machine
    peak_key: Callable[[LoadShape | None], str]


def gpu_free(gpus: Iterable[Gpu | UnreadableGpu], devices: Iterable[str]) -> int:
    """Bytes free on these devices together."""
    wanted = frozenset(devices)
    return sum(gpu.free_bytes for gpu in gpus if isinstance(gpu, Gpu) and gpu.uuid in wanted)


def _peak_key(order: StartOrder, reading: Reading, shape: LoadShape | None, effective: str) -> str:
    """Of a start without a shape all that is known is its command."""
    if shape is None:
        return f"command {effective}"
    return key_of(order.spec.fingerprint, reading.engine_version, shape, reading.cpu[0])


def _question(order: StartOrder, machine: Machine, told: DryRun | None) -> Question:
    engine = order.engine
    if not isinstance(engine, TellsMemory):
        return Question(order.spec, engine.name, None, order.model.memory_gb)
    shape = placed(engine.load_shape(order.spec, order.knobs), machine.gpu_memory)
    return Question(
        order.spec, engine.name, Sizer(order.spec, shape, machine.repacked_types, told), order.model.memory_gb
    )


def _ask(order: StartOrder) -> DryRun | DryRunFailed:
    """Blocking, for a second or more."""
    engine = order.engine
    assert isinstance(engine, TellsMemory)
    return dry_run.ask(lambda home: engine.dry_run(order.spec, order.knobs, order.model, home), ACCOUNT_TIMEOUT_S)


def _promise(verdict: Verdict) -> dict[str, int]:
    return dict(verdict.devices.bytes_by_device) if isinstance(verdict, Admit | Clamp) else {}


def _admission(order: StartOrder, view: _View) -> Admission:
    sizer = view.question.sizer
    match view.verdict:
        case Admit(need, devices):
            shown = _on_devices(order, devices.gpus, view.machine)
            key = view.peak_key(sizer.shape if sizer else None)
            return Admission(shown, need.total_bytes, _promised(need), key)
        case Clamp(shape, need, devices):
            shown = _on_devices(_clamped(order, shape), devices.gpus, view.machine)
            note = f"{_promised(need)}, cut to a context of {shape.context:,} and {shape.sequences} at once"
            return Admission(shown, need.total_bytes, note, view.peak_key(shape))
        case _:
            return Admission(order, None, "size unknown", view.peak_key(None))


def _promised(need: Need) -> str:
    return f"{need.total_bytes / GIB:.1f} GiB promised ({need.basis.value})"


def _clamped(order: StartOrder, shape: LoadShape) -> StartOrder:
    sizes = {
        "context": shape.context,
        "max_sequences": shape.sequences,
        "prefix_cache_mb": min(order.knobs.prefix_cache_mb, shape.cache_bytes // _MIB),
    }
    return replace(order, knobs=order.knobs.model_copy(update=sizes))


def _on_devices(order: StartOrder, gpus: tuple[str, ...], machine: Machine) -> StartOrder:
    """Shows the worker its GPUs alone, where there are others; what the settings say of that holds before."""
    if sum(gpu.kind is GpuKind.OWN for gpu in machine.gpus) < 2:
        return order
    env = {**visible(gpus, machine.gpus), **order.knobs.env}
    return replace(order, knobs=order.knobs.model_copy(update={"env": env}))

"""What one start is allowed: the values between the gate and the pure decision. No state here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from roost.host.memory_types import Gpu, GpuKind, HostMemory, UnreadableGpu
from roost.memory import dry_run
from roost.memory.admission import Admit, AdmitAlone, Clamp, Refuse, Verdict
from roost.memory.budget import GIB, HOST
from roost.memory.devices import Eviction, Resident, evict_for, visible
from roost.memory.dry_run import DryRunFailed
from roost.memory.learned import key_of
from roost.memory.ledger import Entry
from roost.memory.needs import Need
from roost.memory.placement import placed
from roost.memory.plan import Held, Machine, Question
from roost.memory.sizing import Sizer
from roost.memory.types import DryRun, LoadShape, TellsMemory
from roost.workers.start import StartOrder

#: In place of a source, of a start that gets the machine for itself because nobody knows its size.
ALONE = "alone"
#: How long an engine may take over its account before formulas are all there is.
ACCOUNT_TIMEOUT_S = 20.0
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
class Seen:
    """What one start takes, in bytes."""

    private_bytes: int
    #: The most on the host so far, mapped files too; and on GPUs.
    peak_bytes: int
    gpu_bytes: int = 0

    def after(self, before: Seen | None) -> Seen:
        """What is there now, and the higher peaks: a process that ended took its own along."""
        if before is None:
            return self
        peak, gpu = max(self.peak_bytes, before.peak_bytes), max(self.gpu_bytes, before.gpu_bytes)
        return Seen(self.private_bytes, peak, gpu)


@dataclass(frozen=True)
class Crowd:
    """A resident that may go now."""

    start: str
    last_active: float


class Spared(Protocol):
    """Processes that hold memory for convenience alone, by name in the book: they go before a load is refused."""

    def names(self) -> frozenset[str]: ...

    def becoming(self, order: StartOrder) -> frozenset[str]:
        """The one that would be this start's worker."""
        ...

    async def give_up(self, but: frozenset[str]) -> bool:
        """Ends all others; returns once their memory is back. False: there was none."""
        ...


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


@dataclass(frozen=True)
class View:
    """One verdict and what it rests on."""

    verdict: Verdict
    question: Question
    machine: Machine
    peak_key: Callable[[LoadShape | None], str]


def gpu_free(gpus: Iterable[Gpu | UnreadableGpu], devices: Iterable[str]) -> int:
    """Bytes free on these devices together."""
    wanted = frozenset(devices)
    return sum(gpu.free_bytes for gpu in gpus if isinstance(gpu, Gpu) and gpu.uuid in wanted)


def peak_key(order: StartOrder, reading: Reading, shape: LoadShape | None, effective: str) -> str:
    """Of a start without a shape all that is known is its command."""
    if shape is None:
        return f"command {effective}"
    return key_of(order.spec.fingerprint, reading.engine_version, shape, reading.cpu[0])


def question_of(order: StartOrder, machine: Machine, told: DryRun | None) -> Question:
    engine = order.engine
    if not isinstance(engine, TellsMemory):
        return Question(order.spec, engine.name, None, order.model.memory_gb)
    shape = placed(engine.load_shape(order.spec, order.knobs), machine.gpu_memory)
    return Question(
        order.spec, engine.name, Sizer(order.spec, shape, machine.repacked_types, told), order.model.memory_gb
    )


def ask_engine(order: StartOrder, stop: threading.Event) -> DryRun | DryRunFailed:
    """Blocking, for a second or more, or until `stop` is set."""
    engine = order.engine
    assert isinstance(engine, TellsMemory)
    return dry_run.ask(lambda home: engine.dry_run(order.spec, order.knobs, order.model, home), ACCOUNT_TIMEOUT_S, stop)


def elsewhere(order: StartOrder) -> Admission | None:
    """Of a model that another machine or another program serves: it takes none of the memory that is counted here."""
    return None if order.model.external is None else Admission(order, None, "not loaded by roost", "")


def who_goes(view: View, entries: Mapping[str, Entry], crowd: Iterable[Crowd], taken: Mapping[str, int]) -> list[str]:
    """The fewest starts that must end so that this one fits; none: it would not. `taken`: bytes of those whose promise
    says nothing."""
    need = view.verdict.need if isinstance(view.verdict, Refuse) else None
    if need is None:
        return []
    residents = [
        Resident(one.start, entries[one.start].bytes_by_device or {HOST: taken.get(one.start, 0)}, one.last_active)
        for one in crowd
        if one.start in entries
    ]
    found = evict_for(need, view.machine.day, residents)
    return list(found.ids) if isinstance(found, Eviction) else []


def promise_of(verdict: Verdict) -> dict[str, int]:
    return dict(verdict.devices.bytes_by_device) if isinstance(verdict, Admit | Clamp) else {}


def promise_told(verdict: Verdict) -> Mapping[str, Any]:
    """For the log: bytes promised of the host and of GPUs with memory of their own, and whose word they rest on."""
    promised = promise_of(verdict)
    host_bytes = promised.get(HOST, 0)
    source = verdict.need.basis.value if isinstance(verdict, Admit | Clamp) else ALONE
    return {"host_bytes": host_bytes, "gpu_bytes": sum(promised.values()) - host_bytes, "source": source}


def held_of(entries: Mapping[str, Entry], unsized: Collection[str], reading: Reading, leaving: Collection[str]) -> Held:
    """A worker's own memory counts up to its promise: what it takes beyond that is missing to all. Of unknown size,
    its promise is what it has. Whoever leaves gives back what it has, so that it holds no promise."""
    own: dict[str, int] = {}
    promised: dict[str, int] = {}
    for start, entry in entries.items():
        taken = reading.own.get(start, {})
        sizes = taken if start in unsized else entry.bytes_by_device
        for device, size in sizes.items():
            own[device] = own.get(device, 0) + min(taken.get(device, 0), size)
            if entry.model_id not in leaving:
                promised[device] = promised.get(device, 0) + size
    return Held(own, promised)


def admission_of(order: StartOrder, view: View) -> Admission:
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
        case AdmitAlone(seen_bytes=seen) if seen:
            return Admission(order, None, f"{seen / GIB:.1f} GiB taken before, not promised", view.peak_key(None))
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

"""What a model would take on this machine and whether it fits: everything that people and programs are shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roost.catalog.spec import ModelSpec
from roost.config.settings import MemorySettings
from roost.host.memory_types import Gpu, GpuKind, HostMemory, UnreadableGpu
from roost.memory.admission import Fit, Refuse, Verdict, admit, admit_declared, largest_fit, verdict_on_unknown
from roost.memory.budget import GIB, HOST, Budget, gpu_budget, host_budget, host_limits, watchdog_reserve
from roost.memory.footprint import Footprint, TermName
from roost.memory.needs import Need, declared_need, need_of
from roost.memory.placement import GpuMemory
from roost.memory.repack import repacked_types
from roost.memory.sizing import Sizer, undeclared_size
from roost.memory.speed import Rate, decode_rate
from roost.memory.tiers import Standing, Tier, standing
from roost.memory.types import LoadShape, Unknown

#: The most sequences that are looked for.
MOST_SEQUENCES = 64


@dataclass(frozen=True)
class Machine:
    """This machine as a plan sees it."""

    #: Live, beside the desktop and at night; by device.
    day: Mapping[str, Budget]
    night: Mapping[str, Budget]
    gpus: tuple[Gpu, ...]
    repacked_types: frozenset[str]
    #: GPUs whose memory nobody can tell, each with the reason.
    unreadable: tuple[str, ...] = ()

    @property
    def gpu_memory(self) -> GpuMemory:
        kinds = {gpu.kind for gpu in self.gpus}
        if GpuKind.OWN in kinds:
            return GpuMemory.OWN
        return GpuMemory.SHARED if kinds else GpuMemory.NONE


@dataclass(frozen=True)
class Held:
    """What workers of this roost have, in bytes by device."""

    #: Of their promises, what is in memory already.
    own: Mapping[str, int] = field(default_factory=dict)
    promised: Mapping[str, int] = field(default_factory=dict)


def machine_of(
    memory: HostMemory,
    gpus: tuple[Gpu | UnreadableGpu, ...],
    cpu: tuple[str, frozenset[str]],
    settings: MemorySettings,
    held: Held | None = None,
) -> Machine:
    """From the readings of `host`. Without `held` nothing is counted as roost's own: what is loaded now is not there to
    be had."""
    limits, held = host_limits(settings, memory.total_bytes), held or Held()
    readable = tuple(gpu for gpu in gpus if isinstance(gpu, Gpu))

    def host(*, night: bool) -> Budget:
        own, promised = held.own.get(HOST, 0), held.promised.get(HOST, 0)
        watch = watchdog_reserve()
        return host_budget(memory, limits, own_bytes=own, reserved_bytes=promised, watchdog_bytes=watch, night=night)

    devices = {
        gpu.uuid: gpu_budget(
            gpu, memory, own_bytes=held.own.get(gpu.uuid, 0), reserved_bytes=held.promised.get(gpu.uuid, 0)
        )
        for gpu in readable
    }
    return Machine(
        day={HOST: host(night=False), **devices},
        night={HOST: host(night=True), **devices},
        gpus=readable,
        repacked_types=repacked_types(*cpu),
        unreadable=tuple(f"{gpu.name}: {gpu.reason}" for gpu in gpus if isinstance(gpu, UnreadableGpu)),
    )


@dataclass(frozen=True)
class Question:
    """One model, one engine, the sizes in question."""

    spec: ModelSpec
    engine: str
    #: None: the engine does not tell its sizes (`command`, `external`).
    sizer: Sizer | None
    #: The size that the settings give; it is taken where nobody can tell.
    declared_gb: float | None = None
    #: Why the engine's own account is missing; None: it is there, or was not asked for.
    not_asked: str | None = None
    #: Bytes a second at which its weights can be read, and whose word that is.
    bandwidth: tuple[float | None, str] = (None, "")


@dataclass(frozen=True)
class Plan:
    """The answer."""

    question: Question
    footprint: Footprint | None
    need: Need | None
    verdict: Verdict
    #: The largest sizes that fit now.
    largest: Fit | None
    standing: Standing
    rate: Rate | None

    @property
    def starts(self) -> bool:
        """It would be started, with smaller sizes only if the settings allow that."""
        return not isinstance(self.verdict, Refuse)

    @property
    def shape(self) -> LoadShape | None:
        return self.question.sizer.shape if self.question.sizer else None


def plan(question: Question, machine: Machine, settings: MemorySettings) -> Plan:
    """The whole answer for one question."""
    sizer = question.sizer
    asked = sizer.asked() if sizer else undeclared_size()
    if sizer is None or not isinstance(asked, Footprint):
        return _unsized(question, asked, machine)

    def needs(shape: LoadShape) -> Need | Unknown:
        footprint = sizer.at(shape)
        layers = question.spec.attention.layers
        budget = machine.day[HOST].limit_bytes
        return need_of(footprint, shape, budget, layers, None) if isinstance(footprint, Footprint) else footprint

    need = needs(sizer.shape)
    assert isinstance(need, Need)
    return Plan(
        question,
        asked,
        need,
        admit(sizer.shape, needs, machine.day, allow_clamp=settings.allow_clamp),
        largest_fit(
            sizer.shape,
            needs,
            machine.day,
            most_context=question.spec.context_length,
            most_sequences=MOST_SEQUENCES,
        ),
        standing(need, machine.day, machine.night),
        _rate(question, asked),
    )


def _unsized(question: Question, unknown: Footprint | Unknown, machine: Machine) -> Plan:
    """By somebody's word, or by nobody's."""
    if question.declared_gb is not None:
        need = declared_need(round(question.declared_gb * GIB))
        verdict = admit_declared(need, machine.day)
        return Plan(question, None, need, verdict, None, standing(need, machine.day, machine.night), None)
    assert isinstance(unknown, Unknown)
    return Plan(question, None, None, verdict_on_unknown(unknown), None, Standing(Tier.UNKNOWN, unknown.reason), None)


def _rate(question: Question, footprint: Footprint) -> Rate | None:
    """At a full window: the cache of one sequence is read with each token."""
    shape = question.sizer.shape if question.sizer else None
    if shape is None:
        return None
    streams = 1 if shape.unified else max(shape.sequences, 1)
    kv = footprint.of(TermName.KV) // streams
    bandwidth, source = question.bandwidth
    return decode_rate(question.spec, kv, bandwidth, source)

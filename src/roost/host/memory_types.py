"""Readings of memory: the machine's, a process's, a GPU's. Facts only; what may be used of it is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol


class SensorFailed(Exception):
    """The system did not answer, or not in a form that is known. Whoever guards memory takes this for bad news."""


@dataclass(frozen=True)
class Swap:
    used_bytes: int
    #: Bytes moved since the system started.
    in_bytes: int = 0
    out_bytes: int = 0


@dataclass(frozen=True)
class Pressure:
    """What the kernel says of processes that wait for memory; None where it does not tell."""

    #: Linux: share of the last 10 s in which some, and in which all processes waited.
    some_percent: float | None = None
    full_percent: float | None = None
    #: macOS: 1 normal, 2 warning, 4 critical.
    level: Literal[1, 2, 4] | None = None


@dataclass(frozen=True)
class Ceiling:
    """A limit below the machine's own memory."""

    #: Such as `cgroup /user.slice` or `wired limit`.
    name: str
    limit_bytes: int
    #: What is left of it now, counting what the kernel can drop; None: it is not used up by others.
    room_bytes: int | None = None


@dataclass(frozen=True)
class HostMemory:
    total_bytes: int
    #: What new work can have without anything being swapped out.
    available_bytes: int
    swap: Swap
    pressure: Pressure = Pressure()
    ceilings: tuple[Ceiling, ...] = ()
    #: macOS: what the compressor holds.
    compressed_bytes: int | None = None
    #: macOS: the same for the GPU's wired memory; Linux: none.
    gpu_ceiling: Ceiling | None = None


@dataclass(frozen=True)
class ProcessMemory:
    """One process. Mapped files are not in it: several processes share them."""

    pid: int
    #: Linux: anonymous and shared memory; macOS: its physical footprint.
    private_bytes: int
    #: All that is in memory now, mapped files too.
    resident_bytes: int
    #: The most it ever had in memory, as the kernel keeps it.
    peak_bytes: int
    swapped_bytes: int = 0


class GpuKind(StrEnum):
    #: Memory of its own.
    OWN = "own"
    #: It uses the host's memory.
    SHARED = "shared"


@dataclass(frozen=True)
class Gpu:
    #: What the driver's variables take: a UUID, never an index, which changes.
    uuid: str
    name: str
    index: int
    kind: GpuKind
    total_bytes: int
    free_bytes: int
    #: Variable that shows a process these GPUs alone.
    visible_by: str = "CUDA_VISIBLE_DEVICES"
    #: Bytes by pid, where the driver tells.
    processes: Mapping[int, int] = field(default_factory=dict)
    #: Bytes a second that its memory moves at best, by its clock and width; None: not told.
    bandwidth: float | None = None


@dataclass(frozen=True)
class UnreadableGpu:
    """A GPU whose memory nobody can tell: it takes no model."""

    uuid: str
    name: str
    reason: str


class MemorySensor(Protocol):
    """Everything answers from the kernel or the driver, at once. Raises SensorFailed."""

    def memory(self) -> HostMemory: ...

    def process(self, pid: int) -> ProcessMemory | None:
        """None when no such process lives."""
        ...

    def gpus(self) -> tuple[Gpu | UnreadableGpu, ...]: ...

    def cpu(self) -> tuple[str, frozenset[str]]:
        """The machine's name (x86_64, arm64, aarch64) and its CPU's features as the kernel names them."""
        ...

"""Sensors whose machine a test decides; processes are the real ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from roost.host.memory_types import Gpu, HostMemory, ProcessMemory, SensorFailed, Swap, UnreadableGpu
from roost.host.this import this_host, this_memory

GIB = 2**30


@dataclass
class ScriptedMemory:
    """See `host.memory_types.MemorySensor`."""

    reading: HostMemory = field(default_factory=lambda: HostMemory(64 * GIB, 60 * GIB, Swap(0)))
    #: Set: it cannot be read, and this says why.
    failure: str | None = None
    #: How often it was asked for the machine's memory.
    looks: int = 0
    gpu_list: tuple[Gpu | UnreadableGpu, ...] = ()

    def change(self, **changes: object) -> None:
        """Fields of the reading from now on."""
        self.reading = replace(self.reading, **changes)  # type: ignore[arg-type]

    def memory(self) -> HostMemory:
        self.looks += 1
        if self.failure:
            raise SensorFailed(self.failure)
        return self.reading

    def process(self, pid: int) -> ProcessMemory | None:
        return this_memory().process(pid)

    def gpus(self) -> tuple[Gpu | UnreadableGpu, ...]:
        return self.gpu_list

    def cpu(self) -> tuple[str, frozenset[str]]:
        return "x86_64", frozenset()


@dataclass
class SmallMachine:
    """A machine that is filled by real memory: of the processes that this one has started, and of `others_bytes` that
    stay the same. Nothing else on the machine counts."""

    total_bytes: int = 8 * GIB
    others_bytes: int = 0

    def memory(self) -> HostMemory:
        return HostMemory(self.total_bytes, max(self.total_bytes - self.others_bytes - self.taken_bytes(), 0), Swap(0))

    def taken_bytes(self) -> int:
        """What all processes below this one have for themselves."""
        found = (self.process(pid) for pid in this_host().tree(os.getpid())[1:])
        return sum(process.private_bytes for process in found if process)

    def process(self, pid: int) -> ProcessMemory | None:
        return this_memory().process(pid)

    def gpus(self) -> tuple[Gpu | UnreadableGpu, ...]:
        return ()

    def cpu(self) -> tuple[str, frozenset[str]]:
        return "x86_64", frozenset()

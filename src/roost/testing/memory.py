"""A sensor whose machine a test decides; processes are the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from roost.host.memory_types import Gpu, HostMemory, ProcessMemory, SensorFailed, Swap, UnreadableGpu
from roost.host.this import this_memory

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

"""What workers take of the memory, all their processes together. Blocking: for a thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from roost.host.memory_types import Gpu, MemorySensor, UnreadableGpu
from roost.host.types import Host
from roost.memory.budget import HOST
from roost.workers.allowed import Seen, gpu_free

#: Finding all processes of a worker costs milliseconds on a machine with many; few start others after their first
#: seconds.
TREE_HOLDS_S = 10.0


@dataclass
class Sampler:
    """Raises SensorFailed."""

    sensor: MemorySensor
    host: Host
    _trees: dict[int, tuple[float, tuple[int, ...]]] = field(default_factory=dict)

    def all_seen(
        self, pids: Mapping[str, int], devices: Mapping[str, Iterable[str]]
    ) -> tuple[dict[str, Seen], dict[str, int]]:
        """By start: what it has, and what is free on its GPUs. `devices`: the GPUs of those that have one."""
        gpus = self.sensor.gpus() if devices else ()
        free = {start: gpu_free(gpus, names) for start, names in devices.items()}
        self._trees = {pid: known for pid, known in self._trees.items() if pid in set(pids.values())}
        return {start: self._seen(pid, gpus) for start, pid in pids.items()}, free

    def taken(self, pid: int, gpus: Iterable[Gpu | UnreadableGpu]) -> dict[str, int]:
        """Bytes by device, now."""
        tree = self.host.tree(pid)
        seen = [process for one in tree if (process := self.sensor.process(one))]
        on_gpus = {gpu.uuid: sum(gpu.processes.get(one, 0) for one in tree) for gpu in gpus if isinstance(gpu, Gpu)}
        return {HOST: sum(process.private_bytes for process in seen), **on_gpus}

    def _seen(self, pid: int, gpus: Iterable[Gpu | UnreadableGpu]) -> Seen:
        tree = self._tree(pid)
        found = [process for one in tree if (process := self.sensor.process(one))]
        on_gpus = sum(gpu.processes.get(one, 0) for gpu in gpus if isinstance(gpu, Gpu) for one in tree)
        private = sum(process.private_bytes for process in found)
        return Seen(private, sum(process.peak_bytes for process in found), on_gpus)

    def _tree(self, pid: int) -> tuple[int, ...]:
        now = time.monotonic()
        looked_at, tree = self._trees.get(pid, (-TREE_HOLDS_S, ()))
        if now - looked_at >= TREE_HOLDS_S:
            tree = self.host.tree(pid)
            self._trees[pid] = now, tree
        return tree

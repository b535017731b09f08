"""How much models may take of each device now: one setting a host, ceilings of the system, and what is free."""

from __future__ import annotations

from dataclasses import dataclass

from roost.config.settings import MemorySettings
from roost.host.memory_types import Ceiling, Gpu, GpuKind, HostMemory

#: The device that is the host's own memory; GPUs have their UUIDs.
HOST = "host"
GIB = 2**30
#: Left to the desktop unless the settings say otherwise: a share of the machine, within bounds.
_RESERVE_SHARE, _RESERVE_LEAST, _RESERVE_MOST = 4, 2 * GIB, 16 * GIB
#: Of a small machine, no more than this share.
_RESERVE_SMALL_SHARE = 2
#: Never touched by anybody: below it the system itself begins to suffer.
_FLOOR_SHARE, _FLOOR_LEAST, _FLOOR_MOST = 20, GIB // 2, 4 * GIB
#: A GPU also draws the screen and holds its driver's own tables.
GPU_FLOOR_BYTES = 256 * 2**20
#: Bytes a second that a worker may come to take before somebody looks again, and how long that may be: the period of
#: the watch, its sampling and the kill.
FILL_RATE = 8 * GIB
REACTION_S = 0.06


@dataclass(frozen=True)
class Limits:
    """What the settings allow on this host, whatever is free."""

    #: While somebody may work here, and while nobody does.
    day_bytes: int
    night_bytes: int
    floor_bytes: int
    #: Where `day_bytes` comes from, for messages.
    day_name: str


def host_limits(settings: MemorySettings, total_bytes: int) -> Limits:
    """`max_gb` is the number; without it everything but the desktop's reserve."""
    floor = _within(total_bytes // _FLOOR_SHARE, _FLOOR_LEAST, _FLOOR_MOST)
    most = max(total_bytes - floor, 0)
    least = min(_RESERVE_LEAST, total_bytes // _RESERVE_SMALL_SHARE)
    reserve = _within(total_bytes // _RESERVE_SHARE, least, _RESERVE_MOST)
    if settings.desktop_reserve_gb is not None:
        reserve = round(settings.desktop_reserve_gb * GIB)
    day, name = max(total_bytes - reserve, 0), "the desktop's reserve (memory.desktop_reserve_gb)"
    if settings.max_gb is not None:
        day, name = round(settings.max_gb * GIB), "memory.max_gb"
    night = most if settings.night_max_gb is None else round(settings.night_max_gb * GIB)
    return Limits(min(day, most), min(max(night, min(day, most)), most), floor, name)


def _within(size: int, least: int, most: int) -> int:
    return min(max(size, least), most)


@dataclass(frozen=True)
class Budget:
    """One device: what models may take of it together, what is promised already, and what binds."""

    device: str
    #: Before promises: configured, ceilings, and what is there.
    limit_bytes: int
    #: Of starts that are under way, resident or not yet verified to be gone.
    reserved_bytes: int = 0
    #: Held back so that a watch outside the worker can act in time.
    watchdog_bytes: int = 0
    #: What the device could give if nobody else used it: waiting cannot make it more.
    capacity_bytes: int = 0
    #: The smallest of the limits, by name.
    binding: str = ""
    #: A GPU without memory of its own: what lies there counts in the host's budget as well.
    is_shared: bool = False

    @property
    def free_bytes(self) -> int:
        return max(self.limit_bytes - self.reserved_bytes - self.watchdog_bytes, 0)

    @property
    def most_bytes(self) -> int:
        """What one start could have on this device with nothing else there."""
        return max(self.capacity_bytes - self.watchdog_bytes, 0)


def host_budget(
    memory: HostMemory,
    limits: Limits,
    *,
    own_bytes: int = 0,
    reserved_bytes: int = 0,
    watchdog_bytes: int = 0,
    night: bool = False,
) -> Budget:
    """The host's memory. `own_bytes`: what workers take of it now, which is in `reserved_bytes` as well."""
    configured = (limits.night_bytes, "memory.night_max_gb") if night else (limits.day_bytes, limits.day_name)
    fixed = [configured, *((ceiling.limit_bytes, ceiling.name) for ceiling in memory.ceilings)]
    live = [
        (own_bytes + max(memory.available_bytes - limits.floor_bytes, 0), "free memory"),
        *(
            (own_bytes + ceiling.room_bytes, ceiling.name)
            for ceiling in memory.ceilings
            if ceiling.room_bytes is not None
        ),
    ]
    limit, binding = min([*fixed, *live])
    capacity, _ = min(fixed)
    return Budget(HOST, limit, reserved_bytes, watchdog_bytes, capacity, binding)


def gpu_budget(gpu: Gpu, memory: HostMemory, *, own_bytes: int = 0, reserved_bytes: int = 0) -> Budget:
    """A GPU's memory. One that shares the host's has the wired limit for its own, and the host's budget besides."""
    ceiling = memory.gpu_ceiling or Ceiling("", gpu.total_bytes)
    if gpu.kind is GpuKind.SHARED:
        capacity, name = min(gpu.total_bytes, ceiling.limit_bytes), ceiling.name or "the host's memory"
        return Budget(gpu.uuid, capacity, reserved_bytes, 0, capacity, name, is_shared=True)
    capacity = max(gpu.total_bytes - GPU_FLOOR_BYTES, 0)
    limit = min(own_bytes + max(gpu.free_bytes - GPU_FLOOR_BYTES, 0), capacity)
    return Budget(gpu.uuid, limit, reserved_bytes, 0, capacity, f"free memory of {gpu.name}")


def watchdog_reserve(fill_rate: float = FILL_RATE, reaction_s: float = REACTION_S) -> int:
    """What a worker can take between two looks at it. Not needed where the kernel itself holds the limit."""
    return round(fill_rate * reaction_s)

"""Budgets from settings, ceilings and what is free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.config.settings import MemorySettings
from roost.host.memory_types import Ceiling, Gpu, GpuKind, HostMemory, Swap
from roost.memory.budget import GIB, GPU_FLOOR_BYTES, Budget, gpu_budget, host_budget, host_limits, watchdog_reserve


def machine(total_gib: float, available_gib: float, *ceilings: Ceiling, gpu: Ceiling | None = None) -> HostMemory:
    return HostMemory(int(total_gib * GIB), int(available_gib * GIB), Swap(0), ceilings=ceilings, gpu_ceiling=gpu)


@pytest.mark.parametrize(
    ("settings", "total_gib", "day_gib", "night_gib"),
    [
        (MemorySettings(), 16, 12, 15.2),
        (MemorySettings(), 4, 2, 3.5),
        (MemorySettings(), 2, 1, 1.5),
        (MemorySettings(), 128, 112, 124),
        (MemorySettings(max_gb=10), 16, 10, 15.2),
        (MemorySettings(max_gb=10, desktop_reserve_gb=12), 16, 10, 15.2),
        (MemorySettings(desktop_reserve_gb=0), 16, 15.2, 15.2),
        (MemorySettings(max_gb=99), 16, 15.2, 15.2),
        (MemorySettings(max_gb=8, night_max_gb=12), 16, 8, 12),
        (MemorySettings(max_gb=12, night_max_gb=8), 16, 12, 12),
        (MemorySettings(desktop_reserve_gb=99), 16, 0, 15.2),
    ],
)
def test_one_number_gives_the_rest(settings: MemorySettings, total_gib: int, day_gib: float, night_gib: float) -> None:
    limits = host_limits(settings, total_gib * GIB)
    assert (limits.day_bytes / GIB, limits.night_bytes / GIB) == pytest.approx((day_gib, night_gib), abs=0.01)


LIMITS = host_limits(MemorySettings(max_gb=12), 16 * GIB)


def test_the_smallest_limit_binds_and_is_named() -> None:
    assert host_budget(machine(16, 15), LIMITS).binding == "memory.max_gb"
    assert host_budget(machine(16, 5), LIMITS).binding == "free memory"
    cgroup = Ceiling("cgroup /a", 8 * GIB, 6 * GIB)
    found = host_budget(machine(16, 15, cgroup), LIMITS)
    assert (found.binding, found.limit_bytes, found.capacity_bytes) == ("cgroup /a", 6 * GIB, 8 * GIB)


def test_what_workers_have_already_is_not_lost() -> None:
    busy = host_budget(machine(16, 5), LIMITS, own_bytes=6 * GIB, reserved_bytes=7 * GIB)
    assert busy.limit_bytes == 6 * GIB + 5 * GIB - LIMITS.floor_bytes
    assert busy.free_bytes == busy.limit_bytes - 7 * GIB


def test_the_night_has_its_own_number() -> None:
    limits = host_limits(MemorySettings(max_gb=8, night_max_gb=12), 16 * GIB)
    night = host_budget(machine(16, 15), limits, night=True)
    assert (night.binding, night.limit_bytes) == ("memory.night_max_gb", 12 * GIB)
    assert host_budget(machine(16, 15), limits).limit_bytes == 8 * GIB


def test_the_watch_holds_back_what_a_worker_takes_until_it_acts() -> None:
    reserve = watchdog_reserve(50 * GIB, 0.06)
    assert reserve == 3 * GIB
    budget = host_budget(machine(16, 15), LIMITS, watchdog_bytes=reserve)
    assert (budget.free_bytes, budget.most_bytes) == (9 * GIB, 9 * GIB)


H100 = Gpu("GPU-1", "H100", 0, GpuKind.OWN, 80 * GIB, 79 * GIB)


def test_a_gpu_has_what_is_free_on_it() -> None:
    budget = gpu_budget(H100, machine(128, 100), reserved_bytes=10 * GIB)
    assert budget.limit_bytes == 79 * GIB - GPU_FLOOR_BYTES
    assert budget.free_bytes == 69 * GIB - GPU_FLOOR_BYTES
    taken = Gpu("GPU-1", "H100", 0, GpuKind.OWN, 80 * GIB, GIB // 8)
    assert gpu_budget(taken, machine(128, 100)).free_bytes == 0


def test_a_gpu_in_the_hosts_memory_has_the_wired_limit() -> None:
    m3 = Gpu("Apple M3", "Apple M3", 0, GpuKind.SHARED, 12 * GIB, 6 * GIB)
    budget = gpu_budget(m3, machine(16, 6, gpu=Ceiling("wired limit", 10 * GIB)))
    assert (budget.limit_bytes, budget.binding, budget.is_shared) == (10 * GIB, "wired limit", True)


SIZES = st.integers(0, 64 * GIB)


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_a_budget_is_never_negative_and_promises_only_shrink_it(
    available: int, own: int, reserved: int, more: int, watchdog: int
) -> None:
    memory = HostMemory(64 * GIB, available, Swap(0), ceilings=(Ceiling("cgroup /", 32 * GIB, available // 2),))
    limits = host_limits(MemorySettings(), 64 * GIB)

    def budget(promised: int) -> Budget:
        return host_budget(memory, limits, own_bytes=own, reserved_bytes=promised, watchdog_bytes=watchdog)

    assert budget(reserved).free_bytes >= 0
    assert budget(reserved + more).free_bytes <= budget(reserved).free_bytes
    assert budget(0).limit_bytes <= min(limits.day_bytes, 32 * GIB)


@given(st.integers(GIB, 2048 * GIB), st.floats(0.5, 4096), st.floats(0, 4096))
def test_limits_are_in_order_whatever_the_settings(total: int, most: float, reserve: float) -> None:
    for settings in (MemorySettings(max_gb=most, night_max_gb=reserve + 1), MemorySettings(desktop_reserve_gb=reserve)):
        limits = host_limits(settings, total)
        assert 0 <= limits.day_bytes <= limits.night_bytes <= total - limits.floor_bytes

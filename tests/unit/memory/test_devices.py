"""GPUs chosen for a start, and who must go for it: over one to four devices of any sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.host.memory_types import Gpu, GpuKind
from roost.memory.budget import GIB, HOST, Budget
from roost.memory.devices import DeviceSet, Eviction, NoRoom, Resident, evict_for, place, visible
from roost.memory.needs import Amount, Basis, Need


def device(name: str, free_gib: float, capacity_gib: float | None = None, reserved_gib: float = 0) -> Budget:
    capacity = capacity_gib if capacity_gib is not None else free_gib + reserved_gib
    limit = round((free_gib + reserved_gib) * GIB)
    return Budget(name, limit, round(reserved_gib * GIB), 0, round(capacity * GIB), f"free memory of {name}")


def machine(*gpus: Budget, host_gib: float = 64) -> dict[str, Budget]:
    return {budget.device: budget for budget in (device(HOST, host_gib), *gpus)}


def on_gpu(gib: float, each_gib: float = 0, granule_gib: float = 0, host_gib: float = 1) -> Need:
    return Need(
        Basis.DRY_RUN,
        Amount(round(host_gib * GIB)),
        Amount(round(gib * GIB)),
        each_gpu_bytes=round(each_gib * GIB),
        granule_bytes=round(granule_gib * GIB),
    )


def placed(found: object) -> DeviceSet:
    assert isinstance(found, DeviceSet), found
    return found


def test_one_gpu_is_better_than_two_and_the_tightest_that_fits_is_best() -> None:
    budgets = machine(device("a", 80), device("b", 24), device("c", 10))
    assert placed(place(on_gpu(20), budgets)).gpus == ("b",)
    assert placed(place(on_gpu(30), budgets)).gpus == ("a",)


def test_several_share_it_by_what_is_free_on_them() -> None:
    found = placed(place(on_gpu(90), machine(device("a", 80), device("b", 40), device("c", 4))))
    assert set(found.gpus) == {"a", "b"}
    assert found.bytes_by_device["a"] / found.bytes_by_device["b"] == pytest.approx(2, rel=0.01)


def test_each_gpu_holds_the_drivers_context_and_a_layer_too_many() -> None:
    budgets = machine(device("a", 10), device("b", 10))
    assert isinstance(place(on_gpu(19), budgets), DeviceSet)
    # The need counts what each GPU takes once: two of them hold 19 - 1 + 2.
    assert isinstance(place(on_gpu(19, each_gib=1), budgets), DeviceSet)
    assert isinstance(place(on_gpu(19.5, each_gib=1), budgets), NoRoom)
    assert isinstance(place(on_gpu(19, granule_gib=1), budgets), NoRoom)
    assert isinstance(place(on_gpu(9.5, granule_gib=1), budgets), DeviceSet), "one GPU needs no room for a layer more"


def test_fixed_devices_are_taken_or_refused_never_replaced() -> None:
    budgets = machine(device("a", 80), device("b", 24))
    assert placed(place(on_gpu(20), budgets, ("a",))).gpus == ("a",)
    assert placed(place(on_gpu(20), budgets, ("a", "b"))).gpus == ("a", "b")
    short = place(on_gpu(30), budgets, ("b",))
    assert isinstance(short, NoRoom)
    assert (short.device, short.is_permanent) == ("b", True)
    assert isinstance(place(on_gpu(1), budgets, ("b", "gone")), NoRoom)


def test_the_host_must_have_room_as_well() -> None:
    short = place(on_gpu(1, host_gib=65), machine(device("a", 80)))
    assert isinstance(short, NoRoom)
    assert (short.device, short.is_permanent) == (HOST, True)


def test_what_is_taken_now_may_be_free_later() -> None:
    short = place(on_gpu(20), machine(device("a", 10, capacity_gib=80)))
    assert isinstance(short, NoRoom)
    assert not short.is_permanent


def test_a_gpu_in_the_hosts_memory_is_bound_by_its_own_limit_too() -> None:
    wired = replace(device("m", 10), is_shared=True)
    need = Need(Basis.DRY_RUN, Amount(12 * GIB), shared_bytes=11 * GIB)
    short = place(need, machine(wired))
    assert isinstance(short, NoRoom)
    assert short.device == "m"
    fits = placed(place(replace(need, shared_bytes=9 * GIB), machine(wired)))
    assert fits.bytes_by_device == {HOST: 12 * GIB, "m": 9 * GIB}


def test_without_gpus_the_host_alone_counts() -> None:
    assert placed(place(Need(Basis.FORMULA, Amount(GIB)), machine())).gpus == ()
    assert isinstance(place(on_gpu(1), machine()), NoRoom)


def test_a_worker_sees_its_gpus_by_uuid() -> None:
    known = [
        Gpu("GPU-1", "a", 0, GpuKind.OWN, 1, 1),
        Gpu("GPU-2", "b", 1, GpuKind.OWN, 1, 1),
        Gpu("GPU-3", "c", 2, GpuKind.OWN, 1, 1, "ROCR_VISIBLE_DEVICES"),
    ]
    assert visible(("GPU-2", "GPU-1"), known) == {"CUDA_VISIBLE_DEVICES": "GPU-2,GPU-1"}
    assert visible(("GPU-3",), known) == {"ROCR_VISIBLE_DEVICES": "GPU-3"}
    assert visible((), known) == {}


def resident(name: str, last: float = 0, stays: bool = False, **gib: float) -> Resident:
    return Resident(name, {where: round(size * GIB) for where, size in gib.items()}, last, stays)


def evicted(found: object) -> tuple[str, ...]:
    assert isinstance(found, Eviction), found
    return found.ids


def test_nobody_goes_when_it_fits() -> None:
    residents = [resident("x", a=10)]
    assert evicted(evict_for(on_gpu(20), machine(device("a", 10, reserved_gib=10), device("b", 30)), residents)) == ()


def test_who_holds_nothing_on_a_short_device_stays() -> None:
    budgets = machine(device("a", 2, reserved_gib=20), device("b", 2, reserved_gib=8))
    residents = [resident("on b", last=0, b=8), resident("on a", last=9, a=20)]
    assert evicted(evict_for(on_gpu(21), budgets, residents)) == ("on a",)


def test_the_longest_idle_goes_first_and_no_more_than_needed() -> None:
    budgets = machine(device("a", 0, reserved_gib=30))
    residents = [resident("new", last=3, a=10), resident("old", last=1, a=10), resident("mid", last=2, a=10)]
    assert evicted(evict_for(on_gpu(10), budgets, residents)) == ("old",)
    assert evicted(evict_for(on_gpu(20), budgets, residents)) == ("old", "mid")


def test_one_large_instead_of_a_small_and_the_large() -> None:
    budgets = machine(device("a", 0, reserved_gib=22))
    residents = [resident("small", last=1, a=2), resident("large", last=2, a=20)]
    assert evicted(evict_for(on_gpu(15), budgets, residents)) == ("large",)


def test_pinned_and_busy_ones_stay() -> None:
    budgets = machine(device("a", 0, reserved_gib=30))
    residents = [resident("pinned", stays=True, a=10), resident("b", last=1, a=10), resident("c", last=2, a=10)]
    assert evicted(evict_for(on_gpu(10), budgets, residents)) == ("b",)
    assert isinstance(evict_for(on_gpu(25), budgets, residents), NoRoom)


def test_on_a_host_without_gpus_eviction_counts_host_memory() -> None:
    budgets = {HOST: device(HOST, 2, reserved_gib=10)}
    residents = [Resident("x", {HOST: 10 * GIB})]
    assert evicted(evict_for(Need(Basis.MEASURED, Amount(8 * GIB)), budgets, residents)) == ("x",)


GIBS = st.floats(0, 96)
GPUS = st.lists(st.tuples(GIBS, GIBS), min_size=1, max_size=4)
NEEDS = st.builds(on_gpu, st.floats(0.1, 200), st.floats(0, 2), st.floats(0, 3), st.floats(0, 80))


@given(NEEDS, GPUS)
def test_nothing_is_promised_that_is_not_free(need: Need, sizes: list[tuple[float, float]]) -> None:
    budgets = machine(*(device(f"g{n}", free, reserved_gib=taken) for n, (free, taken) in enumerate(sizes)))
    found = place(need, budgets)
    if isinstance(found, NoRoom):
        return
    for name, size in found.bytes_by_device.items():
        assert 0 <= size <= budgets[name].free_bytes
    shared = sum(found.bytes_by_device[gpu] - need.each_gpu_bytes for gpu in found.gpus)
    assert shared == max(need.gpu.total_bytes - need.each_gpu_bytes, 0)


@given(NEEDS, GPUS)
def test_no_smaller_set_would_have_done(need: Need, sizes: list[tuple[float, float]]) -> None:
    budgets = machine(*(device(f"g{n}", free) for n, (free, _) in enumerate(sizes)))
    found = place(need, budgets)
    if isinstance(found, DeviceSet) and len(found.gpus) > 1:
        for gpu in found.gpus:
            assert isinstance(place(need, budgets, (gpu,)), NoRoom)


@given(
    NEEDS, GPUS, st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40), st.integers(0, 9), st.booleans()), max_size=6)
)
def test_an_eviction_makes_room_touches_no_bystander_and_has_nobody_to_spare(
    need: Need, sizes: list[tuple[float, float]], held: list[tuple[int, float, int, bool]]
) -> None:
    residents = [
        resident(f"r{n}", last, stays, **{f"g{where % len(sizes)}": size})
        for n, (where, size, last, stays) in enumerate(held)
    ]
    taken = {f"g{n}": sum(one.bytes_by_device.get(f"g{n}", 0) for one in residents) / GIB for n in range(len(sizes))}
    budgets = machine(
        *(device(f"g{n}", free, reserved_gib=taken[f"g{n}"]) for n, (free, _) in enumerate(sizes)), host_gib=100
    )
    found = evict_for(need, budgets, residents)
    if isinstance(found, NoRoom):
        return
    by_id = {one.id: one for one in residents}
    freed = {name: sum(by_id[gone].bytes_by_device.get(name, 0) for gone in found.ids) for name in budgets}
    for name, size in found.devices.bytes_by_device.items():
        assert size <= budgets[name].free_bytes + freed[name]
    for gone in found.ids:
        assert not by_id[gone].stays
        assert set(by_id[gone].bytes_by_device) & set(found.devices.gpus), "a bystander was asked to go"
        kept = [one for one in residents if one.id in found.ids and one.id != gone]
        relieved = {
            name: replace(
                budget, reserved_bytes=budget.reserved_bytes - sum(one.bytes_by_device.get(name, 0) for one in kept)
            )
            for name, budget in budgets.items()
        }
        chosen = found.devices.gpus
        assert isinstance(place(need, {**relieved}, chosen), NoRoom), "one too many was asked to go"

"""The verdict on one start over live budgets, promises and peaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from roost.config.settings import MemorySettings
from roost.host.memory_types import HostMemory, Swap
from roost.memory.admission import Admit, AdmitAlone, Clamp, Refuse
from roost.memory.budget import GIB, HOST
from roost.memory.decision import decide, raised, worth_asking
from roost.memory.needs import Basis, declared_need
from roost.memory.plan import Held, Machine, Question, machine_of
from roost.memory.sizing import Sizer
from roost.memory.types import LoadShape
from roost.workers.allowed import View, admission_of
from tests.unit.memory.specs import CODER, llama_shape

SHAPE = llama_shape(32_768, 4, unified=True)
SETTINGS = MemorySettings(max_gb=10)
SIZED = Question(CODER, "llama.cpp", Sizer(CODER, SHAPE))
UNSIZED = Question(CODER, "command", None)


def machine(available_gib: float = 60.0, own: float = 0.0, promised: float = 0.0) -> Machine:
    memory = HostMemory(64 * GIB, round(available_gib * GIB), Swap(0))
    held = Held({HOST: round(own * GIB)}, {HOST: round(promised * GIB)})
    return machine_of(memory, (), ("x86_64", frozenset()), SETTINGS, held)


def never_seen(shape: LoadShape | None) -> int:
    return 0


def test_promises_are_not_promised_again() -> None:
    assert isinstance(decide(SIZED, machine(), never_seen, allow_clamp=False), Admit)
    found = decide(SIZED, machine(promised=9), never_seen, allow_clamp=False)
    assert isinstance(found, Refuse) and not found.permanent


def test_what_workers_have_already_is_not_missing_twice() -> None:
    """Seven of ten are promised and in memory: three are left, though only eight of the machine are available."""
    free = machine(available_gib=8, own=7, promised=7).day[HOST].free_bytes
    assert 2.4 * GIB < free < 3 * GIB
    assert machine(available_gib=8, promised=7).day[HOST].free_bytes < GIB


def test_the_engine_is_asked_only_where_that_could_change_the_verdict() -> None:
    assert not worth_asking(SIZED, decide(SIZED, machine(), never_seen, allow_clamp=False))
    refused = decide(SIZED, machine(promised=9), never_seen, allow_clamp=False)
    assert worth_asking(SIZED, refused)
    assert not worth_asking(UNSIZED, refused)


def test_it_is_cut_only_where_that_is_allowed() -> None:
    tight = machine(promised=7.65)
    assert isinstance(decide(SIZED, tight, never_seen, allow_clamp=False), Refuse)
    found = decide(SIZED, tight, never_seen, allow_clamp=True)
    assert isinstance(found, Clamp) and found.shape.context < SHAPE.context


def test_a_higher_peak_counts_at_once_and_a_lower_one_never() -> None:
    need = declared_need(4 * GIB)
    assert raised(need, 3 * GIB) is need
    higher = raised(need, 5 * GIB)
    assert (higher.basis, higher.host.estimate_bytes) == (Basis.MEASURED, 5 * GIB)
    found = decide(SIZED, machine(), lambda shape: 12 * GIB if shape == SHAPE else 0, allow_clamp=False)
    assert isinstance(found, Refuse) and found.permanent


@pytest.mark.parametrize("peak_gib", [0, 12])
def test_a_worker_of_undeclared_size_is_never_refused(peak_gib: int) -> None:
    found = decide(UNSIZED, machine(), lambda shape: peak_gib * GIB, allow_clamp=False)
    assert isinstance(found, AdmitAlone) and found.seen_bytes == peak_gib * GIB
    assert ("it took 12.0 GiB before: " in found.reason) == bool(peak_gib)
    view = View(found, UNSIZED, machine(), lambda shape: "key")
    order: Any = object()
    shown = {0: "size unknown", 12: "12.0 GiB taken before, not promised"}
    assert admission_of(order, view).note == shown[peak_gib]


def test_what_an_undeclared_worker_was_seen_to_take_is_promised_to_it() -> None:
    found = decide(UNSIZED, machine(), lambda shape: 2 * GIB, allow_clamp=False)
    assert isinstance(found, Admit) and found.need.basis is Basis.MEASURED
    assert found.devices.bytes_by_device[HOST] > 2 * GIB


def test_a_declared_size_is_taken_by_its_word() -> None:
    declared = replace(UNSIZED, declared_gb=12.0)
    assert isinstance(decide(declared, machine(), never_seen, allow_clamp=True), Refuse)
    assert isinstance(decide(replace(declared, declared_gb=4.0), machine(), never_seen, allow_clamp=False), Admit)

"""At how much memory a worker is ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from roost.memory.budget import GIB, watchdog_reserve
from roost.memory.lines import LEAST_MARGIN_BYTES, Beyond, Lines, lines_of, why_ended

MIB = 2**20
SIZES = some.integers(0, 64 * GIB)


@given(SIZES, some.integers(-GIB, 64 * GIB), SIZES)
def test_a_worker_may_have_its_promise_and_never_more_than_is_free_beside_it(
    promised: int, free: int, floor: int
) -> None:
    for loading in (True, False):
        lines = lines_of(promised, free, floor, loading=loading)
        assert promised + LEAST_MARGIN_BYTES <= lines.limit_bytes <= promised + max(free, LEAST_MARGIN_BYTES)
        assert lines.floor_bytes == floor
    assert lines.promise_bytes == promised


def test_the_least_margin_is_held_back_by_the_watch() -> None:
    assert watchdog_reserve() > LEAST_MARGIN_BYTES


def test_a_leak_ends_far_below_a_roomy_machines_memory() -> None:
    assert lines_of(GIB, 60 * GIB, 0, loading=False).limit_bytes == 2 * GIB
    assert lines_of(40 * GIB, 60 * GIB, 0, loading=False).limit_bytes == 60 * GIB


@given(SIZES, SIZES)
def test_a_load_ends_below_the_floor_whoever_took_the_memory_and_is_looked_at_often(promised: int, free: int) -> None:
    loading, steady = (lines_of(promised, free, GIB, loading=loading) for loading in (True, False))
    assert (loading.promise_bytes, loading.floor_bytes) == (0, GIB)
    assert loading.period_ms <= 20 and 100 <= steady.period_ms <= 250


def test_one_of_unknown_size_may_have_what_nobody_was_promised() -> None:
    assert lines_of(None, 10 * GIB, GIB, loading=False).limit_bytes == 10 * GIB
    assert lines_of(None, 10 * GIB, GIB, loading=False).promise_bytes == 10 * GIB
    assert lines_of(None, -1, GIB, loading=True).limit_bytes == LEAST_MARGIN_BYTES


def test_why_one_was_ended_is_told_with_the_numbers() -> None:
    lines = Lines(15, 300 * MIB, 100 * MIB, 500 * MIB)
    assert why_ended(lines, Beyond(310 * MIB, 0)) == "it had 310 MiB and may have 300 MiB (memory_gb)"
    assert why_ended(lines, Beyond(110 * MIB, 400 * MIB)) == (
        "it had 110 MiB when 400 MiB were available on this machine, of which 500 MiB are never touched"
    )

"""Measured peaks: raised at once, lowered only by full runs, never below what a full cache needs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from roost.memory.learned import Learned, Run, after, key_of
from roost.memory.needs import Peak
from tests.unit.memory.specs import SMOL, llama_shape

FLOOR = 100


def learn(*runs: Run, floor: int = FLOOR) -> Learned:
    known = Learned()
    for run in runs:
        known = after(known, run, floor)
    return known


def peak(known: Learned) -> Peak:
    assert known.peak is not None
    return known.peak


def test_a_higher_peak_counts_at_once() -> None:
    assert peak(learn(Run(500, fill=0.1), Run(700, fill=0.5))).host_bytes == 700


def test_runs_that_ended_in_peace_are_counted() -> None:
    assert peak(learn(Run(500), Run(400), Run(300, clean=False))).clean_runs == 2


def test_a_lower_peak_needs_three_full_runs() -> None:
    high = Run(900, fill=1.0, clean=False)
    full = Run(500, fill=0.95)
    assert peak(learn(high, full, full)).host_bytes == 900
    assert peak(learn(high, full, full, Run(520, fill=0.9))).host_bytes == 520


def test_runs_that_never_filled_the_cache_lower_nothing() -> None:
    assert peak(learn(Run(900, fill=1.0), *[Run(300, fill=0.5)] * 9)).host_bytes == 900


def test_no_peak_falls_below_weights_cache_and_process() -> None:
    assert peak(learn(Run(900), *[Run(50, fill=1.0)] * 3)).host_bytes == FLOOR


def test_a_kill_proves_a_need_and_calls_what_was_believed_into_question() -> None:
    killed = learn(*[Run(500, fill=1.0)] * 3, Run(0, clean=False, killed_at_bytes=800))
    assert (peak(killed).host_bytes, peak(killed).clean_runs) == (800, 0)
    assert peak(after(killed, Run(500, fill=1.0), FLOOR)).host_bytes == 800
    first = learn(Run(0, clean=False, killed_at_bytes=800), Run(300))
    assert peak(first).host_bytes == 800


def test_both_sides_are_learned_apart() -> None:
    known = learn(Run(500, 50, fill=1.0), Run(400, 90, fill=1.0))
    assert (peak(known).host_bytes, peak(known).gpu_bytes) == (500, 90)


def test_every_size_makes_another_key() -> None:
    shape = llama_shape(8192)
    keys = {
        key_of("f", "1", shape, "host"),
        key_of("g", "1", shape, "host"),
        key_of("f", "2", shape, "host"),
        key_of("f", "1", replace(shape, context=4096), "host"),
        key_of("f", "1", replace(shape, kv_type="q8_0"), "host"),
        key_of("f", "1", replace(shape, draft=SMOL), "host"),
        key_of("f", "1", shape, "other"),
    }
    assert len(keys) == 7
    assert key_of("f", "1", llama_shape(8192), "host") in keys


RUNS = st.lists(
    st.builds(
        Run,
        st.integers(1, 1000),
        st.integers(0, 1000),
        st.floats(0, 1),
        st.booleans(),
        st.one_of(st.none(), st.integers(1, 1000)),
    ),
    min_size=1,
    max_size=20,
)


@given(RUNS, st.integers(1, 1000))
def test_nothing_that_was_proven_is_forgotten(runs: list[Run], floor: int) -> None:
    known = Learned()
    for run in runs:
        before = known
        known = after(known, run, floor)
        if known.peak is None:
            continue
        assert known.peak.host_bytes >= known.at_least_bytes
        if run.killed_at_bytes is None:
            assert known.peak.host_bytes >= run.host_bytes, "a run's own peak counts at once"
        if before.peak is not None and known.peak.host_bytes < before.peak.host_bytes:
            assert known.peak.host_bytes >= min(floor, before.peak.host_bytes)
            assert len(known.full_runs) >= 3

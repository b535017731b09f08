"""From a footprint to a need: which word counts, and what is put on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where
from roost.memory.needs import Basis, Peak, declared_need, need_of
from roost.memory.types import LoadShape, Placement
from tests.unit.memory.specs import llama_shape

MIB = 2**20
GIB = 2**30


def term(name: TermName, mib: int, where: Where = Where.HOST) -> Term:
    return Term(name, mib * MIB, TermSource.FORMULA, "", where)


FORMULA = Footprint(
    (
        term(TermName.WEIGHTS, 1000),
        term(TermName.KV, 400),
        term(TermName.PROMPT_CACHE, 500),
        term(TermName.BASE, 100),
    )
)
TOLD = replace(FORMULA, is_dry_run=True)
SHAPE = llama_shape(8192)


def test_a_formula_gets_a_tenth_and_a_cushion_on_what_is_not_firm() -> None:
    need = need_of(FORMULA, SHAPE, 2 * GIB, 30, None)
    assert (need.basis, need.host.estimate_bytes) == (Basis.FORMULA, 2000 * MIB)
    assert need.host.margin_bytes == 140 * MIB + 512 * MIB
    assert need_of(FORMULA, SHAPE, 100 * GIB, 30, None).host.margin_bytes == 140 * MIB + 10 * GIB


def test_the_engines_own_word_gets_a_twentieth() -> None:
    need = need_of(TOLD, SHAPE, 100 * GIB, 30, None)
    assert (need.basis, need.host.margin_bytes) == (Basis.DRY_RUN, 70 * MIB)


def test_a_measured_peak_wins_once_three_runs_agree() -> None:
    seen = Peak(1500 * MIB, clean_runs=3)
    assert need_of(TOLD, SHAPE, GIB, 30, replace(seen, clean_runs=2)).basis is Basis.DRY_RUN
    need = need_of(TOLD, SHAPE, GIB, 30, seen)
    assert (need.basis, need.host.estimate_bytes, need.host.margin_bytes) == (Basis.MEASURED, 1500 * MIB, 45 * MIB)


def test_what_a_peak_had_not_filled_may_still_come() -> None:
    need = need_of(TOLD, SHAPE, GIB, 30, Peak(1500 * MIB, clean_runs=3, fill=0.25))
    assert need.host.estimate_bytes == 1500 * MIB + 300 * MIB


def test_somebodys_word_is_taken_as_it_is() -> None:
    assert declared_need(3 * GIB).total_bytes == 3 * GIB


def test_each_gpu_has_its_context_and_its_buffers() -> None:
    found = Footprint(
        (
            term(TermName.WEIGHTS, 3000, Where.GPU),
            term(TermName.KV, 300, Where.GPU),
            term(TermName.COMPUTE, 200, Where.GPU),
            term(TermName.BASE, 520, Where.GPU),
            term(TermName.BASE, 50),
        ),
        is_dry_run=True,
    )
    need = need_of(found, replace(SHAPE, placement=Placement.GPU), GIB, 30, None)
    assert need.gpu.estimate_bytes == 4020 * MIB
    assert (need.each_gpu_bytes, need.granule_bytes) == (720 * MIB, 110 * MIB)
    assert need.shared_bytes == 0


def test_in_shared_memory_the_process_and_its_prompts_are_not_the_gpus() -> None:
    need = need_of(TOLD, replace(SHAPE, placement=Placement.UNIFIED), GIB, 30, None)
    assert need.shared_bytes == need.host.total_bytes - 600 * MIB


SHAPES = st.sampled_from([SHAPE, replace(SHAPE, placement=Placement.UNIFIED)])


@given(SHAPES, st.integers(0, 2**40), st.integers(0, 2**40), st.floats(0, 1), st.integers(0, 9))
def test_a_need_is_never_less_than_what_it_rests_on(
    shape: LoadShape, budget: int, peak: int, fill: float, runs: int
) -> None:
    for footprint in (FORMULA, TOLD):
        need = need_of(footprint, shape, budget, 30, Peak(peak, 0, runs, fill))
        least = peak if need.basis is Basis.MEASURED else footprint.total_bytes
        assert need.total_bytes >= least
        assert need.shared_bytes <= need.host.total_bytes


@pytest.mark.parametrize("runs", [3, 30])
def test_a_fuller_peak_needs_no_more(runs: int) -> None:
    sizes = [need_of(TOLD, SHAPE, GIB, 30, Peak(GIB, 0, runs, fill)).total_bytes for fill in (0.0, 0.5, 1.0)]
    assert sizes == sorted(sizes, reverse=True)

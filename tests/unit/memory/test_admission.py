"""Verdicts: admitted, clamped, refused with what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.memory.admission import (
    LEAST_CONTEXT,
    Admit,
    AdmitAlone,
    Clamp,
    Needs,
    Refuse,
    admit,
    admit_declared,
    largest_fit,
)
from roost.memory.budget import GIB, HOST, Budget
from roost.memory.devices import DeviceSet, place
from roost.memory.needs import Need, declared_need, need_of
from roost.memory.sizing import Sizer
from roost.memory.types import Ignorance, LlamaDryRun, LoadShape, Part, Unknown
from tests.unit.memory import specs
from tests.unit.memory.specs import CODER, SMOL, llama_shape, mlx_shape

MIB = 2**20


def host(free_gib: float, capacity_gib: float | None = None) -> dict[str, Budget]:
    capacity = capacity_gib if capacity_gib is not None else free_gib
    return {HOST: Budget(HOST, round(free_gib * GIB), 0, 0, round(capacity * GIB), "memory.max_gb")}


def needs_of(sizer: Sizer) -> Needs:
    def needs(shape: LoadShape) -> Need | Unknown:
        footprint = sizer.at(shape)
        if isinstance(footprint, Unknown):
            return footprint
        return need_of(footprint, shape, GIB, sizer.spec.attention.layers, None)

    return needs


def verdict(shape: LoadShape, free_gib: float, capacity_gib: float | None = None, clamp: bool = False) -> object:
    return admit(shape, needs_of(Sizer(CODER, shape)), host(free_gib, capacity_gib), allow_clamp=clamp)


SHAPE = llama_shape(32_768, 4, unified=True, cache_bytes=512 * MIB)


def test_what_fits_is_admitted_with_its_place() -> None:
    found = verdict(SHAPE, 8)
    assert isinstance(found, Admit)
    assert found.devices.bytes_by_device == {HOST: found.need.host.total_bytes}


def test_a_refusal_names_the_numbers_what_binds_and_what_would_fit() -> None:
    found = verdict(SHAPE, 2.0, 2.0)
    assert isinstance(found, Refuse)
    assert found.permanent
    assert "GiB can be had now; what binds is memory.max_gb" in found.reason
    assert "margin on a formula" in found.reason
    assert found.fit is not None
    assert f"a context of {found.fit.context:,} would fit (engine.context)" in found.reason
    assert "choose a smaller model or quantization" in found.reason


def test_a_refusal_says_when_cached_prompts_are_in_the_way() -> None:
    found = verdict(llama_shape(2048, 1, cache_bytes=3 * GIB), 2.0)
    assert isinstance(found, Refuse)
    assert "it would fit without cached prompts (engine.prefix_cache_mb)" in found.reason
    small = verdict(llama_shape(2048, 1, cache_bytes=3 * GIB), 0.3)
    assert isinstance(small, Refuse)
    assert "prefix_cache_mb" not in small.reason


def test_what_will_fit_once_others_have_gone_may_be_tried_again() -> None:
    found = verdict(SHAPE, 2.0, 8.0)
    assert isinstance(found, Refuse)
    error = found.error("org/a")
    assert (error.status, error.code, error.should_retry, error.retry_after_s) == (
        503,
        "insufficient_memory",
        True,
        30.0,
    )
    never = verdict(SHAPE, 2.0, 2.0)
    assert isinstance(never, Refuse)
    assert (never.error("org/a").should_retry, never.error("org/a").retry_after_s) == (False, None)


def test_a_pool_is_clamped_by_its_length() -> None:
    found = verdict(SHAPE, 2.0, clamp=True)
    assert isinstance(found, Clamp)
    assert LEAST_CONTEXT <= found.shape.context < 32_768
    assert (found.shape.sequences, found.shape.cache_bytes) == (4, 512 * MIB)


def test_an_mlx_start_loses_sequences_before_context() -> None:
    spec = specs.folder(specs.QWEN3_MOE, weights_bytes=GIB, vocabulary_size=1000)
    shape = mlx_shape(8192, 8)
    found = admit(shape, needs_of(Sizer(spec, shape)), host(6), allow_clamp=True)
    assert isinstance(found, Clamp)
    assert (found.shape.context, found.shape.sequences) == (8192, 4)


def test_cached_prompts_go_last() -> None:
    shape = llama_shape(2048, 1, cache_bytes=3 * GIB)
    found = verdict(shape, 2.0, clamp=True)
    assert isinstance(found, Clamp)
    assert (found.shape.context, found.shape.cache_bytes) == (2048, 0)


def test_what_does_not_fit_at_any_size_is_refused_even_with_clamping() -> None:
    assert isinstance(verdict(SHAPE, 0.4, clamp=True), Refuse)


@pytest.mark.parametrize("kind", [Ignorance.ARCHITECTURE, Ignorance.ASK_ENGINE])
def test_an_unknown_model_is_refused_until_somebody_gives_its_size(kind: Ignorance) -> None:
    found = admit(SHAPE, lambda shape: Unknown(kind, "roost does not know x"), host(100))
    assert found == Refuse(
        "roost does not know x; set memory_gb of this model to the size that it takes", permanent=True
    )
    assert isinstance(admit_declared(declared_need(3 * GIB), host(4)), Admit)
    refused = admit_declared(declared_need(5 * GIB), host(4))
    assert isinstance(refused, Refuse)
    assert "declared size" in refused.reason


def test_a_worker_of_undeclared_size_gets_the_machine_for_itself() -> None:
    found = admit(SHAPE, lambda shape: Unknown(Ignorance.UNDECLARED, "size unknown"), host(1))
    assert found == AdmitAlone("size unknown")


def test_the_largest_sizes_may_be_more_than_was_asked() -> None:
    shape = llama_shape(2048)
    fit = largest_fit(shape, needs_of(Sizer(CODER, shape)), host(4), most_context=32_768, most_sequences=64)
    assert (fit.context, fit.sequences) == (32_768, 64)
    assert largest_fit(shape, needs_of(Sizer(CODER, shape)), host(0.1)).context is None


def test_an_account_of_llama_cpp_is_moved_to_other_sizes_by_formula() -> None:
    told = LlamaDryRun((Part("Host", 92 * MIB, 181 * MIB, 110 * MIB),))
    shape = llama_shape(8192)
    sizer = Sizer(SMOL, shape, told=told)
    here, there = sizer.at(shape), sizer.at(replace(shape, context=16_384))
    assert not isinstance(here, Unknown)
    assert not isinstance(there, Unknown)
    assert there.is_dry_run
    mask = 512 * 8192 * 2
    assert there.total_bytes - here.total_bytes == 8192 * 23_040 + mask


def test_without_a_formula_an_account_holds_for_its_own_sizes_only() -> None:
    spec = specs.gguf("lfm2", {"block_count": 16}, weights_bytes=700 * MIB)
    shape = llama_shape(8192)
    sizer = Sizer(spec, shape, told=LlamaDryRun((Part("Host", 700 * MIB, 100 * MIB, 50 * MIB),)))
    assert not isinstance(sizer.asked(), Unknown)
    assert isinstance(sizer.at(replace(shape, context=4096)), Unknown)


FREE = st.floats(0.05, 12)
ASKED = st.builds(
    llama_shape,
    st.integers(2048, 131_072),
    st.integers(1, 16),
    unified=st.booleans(),
    cache_bytes=st.integers(0, 4 * GIB),
)


@given(ASKED, FREE, st.booleans())
def test_whatever_is_admitted_or_clamped_fits(asked: LoadShape, free_gib: float, clamp: bool) -> None:
    needs = needs_of(Sizer(CODER, asked))
    found = admit(asked, needs, host(free_gib), allow_clamp=clamp)
    if isinstance(found, Admit | Clamp):
        assert found.need.total_bytes <= free_gib * GIB
    if isinstance(found, Clamp):
        smaller = found.shape
        assert clamp
        assert (smaller.context, smaller.sequences) <= (asked.context, max(asked.sequences, smaller.sequences))
        assert smaller.sequences <= asked.sequences
        assert smaller != asked
        assert found.need == needs(smaller)


@given(ASKED, FREE)
def test_a_refusal_is_right_and_so_is_what_it_offers(asked: LoadShape, free_gib: float) -> None:
    needs = needs_of(Sizer(CODER, asked))
    found = admit(asked, needs, host(free_gib))
    if not isinstance(found, Refuse) or found.fit is None:
        return

    def fits(shape: LoadShape) -> bool:
        need = needs(shape)
        assert isinstance(need, Need)
        return isinstance(place(need, host(free_gib)), DeviceSet)

    assert not fits(asked)
    context, sequences = found.fit.context, found.fit.sequences
    if context is not None:
        assert fits(replace(asked, context=context))
        assert not fits(replace(asked, context=context + 256))
    if sequences is not None:
        assert fits(replace(asked, sequences=sequences))
        assert not fits(replace(asked, sequences=sequences + 1))

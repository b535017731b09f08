"""Footprints by formula: terms, places, caps, and what must hold for every model and size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.catalog.spec import ModelSpec, WeightsShape
from roost.memory.footprint import GPU_CONTEXT_BYTES, Footprint, Term, TermName, TermSource, Where
from roost.memory.llama_footprint import llama_footprint
from roost.memory.mlx_footprint import mlx_footprint
from roost.memory.repack import repacked_types
from roost.memory.types import Ignorance, LoadShape, Placement, Runtime, Unknown
from tests.unit.memory import specs
from tests.unit.memory.specs import CODER, SMOL, folder, gguf, llama_shape, mlx_shape

MIB = 2**20
AVX2 = repacked_types("x86_64", frozenset({"avx2"}))
HYBRID = gguf("qwen3next", specs.QWEN3_NEXT_KEYS, weights_bytes=40 * 2**30, vocabulary_size=151_936)
WINDOWED = gguf(
    "gpt-oss",
    {
        "block_count": 24,
        "embedding_length": 2880,
        "attention.head_count": 64,
        "attention.head_count_kv": 8,
        "attention.key_length": 64,
        "attention.value_length": 64,
        "attention.sliding_window": 128,
    },
    weights_bytes=12 * 2**30,
    vocabulary_size=201_088,
)


def footprint(spec: ModelSpec, shape: LoadShape) -> Footprint:
    found = mlx_footprint(spec, shape) if shape.runtime is Runtime.MLX else llama_footprint(spec, shape, AVX2)
    assert isinstance(found, Footprint), found
    return found


def term(found: Footprint, name: TermName) -> Term:
    return next(term for term in found.terms if term.name is name)


@pytest.mark.parametrize(
    ("spec", "shape", "measured_mib"),
    [
        (SMOL, llama_shape(2048), 206.9),
        (SMOL, llama_shape(8192), 341.9),
        (SMOL, llama_shape(32768), 882.5),
        (CODER, llama_shape(2048), 649.5),
        (CODER, llama_shape(8192), 721.5),
        (CODER, llama_shape(32768), 1011.2),
        (SMOL, llama_shape(8192, kv_type="q8_0"), 258.0),
    ],
)
def test_the_formula_is_near_what_was_measured(spec: ModelSpec, shape: LoadShape, measured_mib: float) -> None:
    total_mib = footprint(spec, shape).total_bytes / MIB
    assert total_mib == pytest.approx(measured_mib, rel=0.06)


@pytest.mark.parametrize(
    ("spec", "shape", "told_mib"),
    [
        (SMOL, llama_shape(8192, 4, unified=True, step=2048, output_rows=2048), 438.58),
        (CODER, llama_shape(8192, 4, unified=True, step=512, output_rows=512), 315.27),
    ],
)
def test_serving_embeddings_reserves_logits_for_a_whole_step(
    spec: ModelSpec, shape: LoadShape, told_mib: float
) -> None:
    assert footprint(spec, shape).of(TermName.COMPUTE) / MIB == pytest.approx(told_mib, rel=0.02)


def test_outputs_grow_to_a_whole_step_once_embeddings_are_asked() -> None:
    # 1,900 tokens were seen to take 1108 MiB where the compute buffer alone explains 730.
    rows = footprint(SMOL, llama_shape(8192, 4, unified=True, step=2048, output_rows=2048)).of(TermName.OUTPUTS)
    assert rows == 2048 * (49_152 + 576) * 4
    assert footprint(SMOL, llama_shape(8192, 4)).of(TermName.OUTPUTS) == 4 * 49_152 * 4


def test_only_matrices_of_types_that_suit_the_cpu_are_kept_twice() -> None:
    assert footprint(CODER, llama_shape(2048)).of(TermName.REPACKED) == 29_417_472
    assert footprint(SMOL, llama_shape(2048)).of(TermName.REPACKED) == 0
    assert footprint(CODER, llama_shape(2048, keeps_order=True)).of(TermName.REPACKED) == 0


@pytest.mark.parametrize(
    ("machine", "features", "held"),
    [
        ("x86_64", {"avx2"}, "Q4_K"),
        ("x86_64", {"avx2", "avx512f"}, "Q2_K"),
        ("aarch64", {"asimddp"}, "Q8_0"),
        ("arm64", set(), "Q6_K"),
        ("riscv64", set(), "Q2_K"),
    ],
)
def test_each_cpu_has_its_own_types(machine: str, features: set[str], held: str) -> None:
    assert held in repacked_types(machine, frozenset(features))
    assert repacked_types("x86_64", frozenset()) == frozenset()


def test_a_pool_for_all_takes_what_one_sequence_takes_and_separate_ones_multiply() -> None:
    alone = footprint(SMOL, llama_shape(8192)).of(TermName.KV)
    assert footprint(SMOL, llama_shape(8192, 4, unified=True)).of(TermName.KV) == alone
    assert footprint(SMOL, llama_shape(8192, 4)).of(TermName.KV) == 4 * alone


def test_cells_come_in_steps_of_256() -> None:
    assert footprint(SMOL, llama_shape(1000)).of(TermName.KV) == 1024 * 23_040


def test_windowed_layers_stop_growing_at_window_and_step() -> None:
    short, long = (footprint(WINDOWED, llama_shape(context)).of(TermName.KV) for context in (8192, 16384))
    assert long - short == 8192 * 12 * 2 * 8 * 64 * 2
    whole = footprint(WINDOWED, llama_shape(16384, full_window=True)).of(TermName.KV)
    assert whole == 16384 * 24 * 2 * 8 * 64 * 2


@pytest.mark.parametrize(
    ("sequences", "unified", "cells"), [(1, False, 768), (4, True, 1024), (4, False, 4 * 768), (1, True, 768)]
)
def test_a_windowed_layer_has_the_windows_of_its_sequences_and_a_step(
    sequences: int, unified: bool, cells: int
) -> None:
    shape = llama_shape(8192, sequences, unified=unified, step=512)
    full = 8192 * (1 if unified else sequences)
    assert footprint(WINDOWED, shape).of(TermName.KV) == (full + cells) * 12 * 2 * 8 * 64 * 2


def test_a_windowed_model_keeps_its_windows_in_checkpoints() -> None:
    found = footprint(WINDOWED, llama_shape(8192, 4, unified=True, checkpoints=3))
    assert found.of(TermName.CHECKPOINTS) == 3 * 4 * 768 * 12 * 2 * 8 * 64 * 2


def test_caps_are_in_the_sum() -> None:
    found = footprint(HYBRID, llama_shape(8192, 4, cache_bytes=512 * MIB, checkpoints=8))
    assert term(found, TermName.PROMPT_CACHE).size_bytes == 512 * MIB
    assert term(found, TermName.CHECKPOINTS).size_bytes == 4 * 8 * 36 * 2_195_456
    assert term(found, TermName.CHECKPOINTS).source is TermSource.SETTING


def test_a_cache_that_can_be_cut_needs_no_checkpoints() -> None:
    assert footprint(SMOL, llama_shape(8192, 4, checkpoints=32)).of(TermName.CHECKPOINTS) == 0


def test_a_projector_counts_with_room_for_an_image() -> None:
    seeing = SMOL.model_copy(update={"files": (specs.file("projector", 900 * MIB),)})
    found = footprint(seeing, llama_shape(2048))
    assert found.of(TermName.PROJECTOR) == 900 * MIB + 450 * MIB


def test_a_draft_model_counts_with_the_same_window() -> None:
    alone = footprint(CODER, llama_shape(8192))
    drafted = footprint(CODER, llama_shape(8192, draft=SMOL))
    added = drafted.of(TermName.DRAFT)
    assert drafted.total_bytes - alone.total_bytes == added
    assert added > SMOL.weights_bytes + 8192 * 23_040


def test_a_draft_of_unknown_kind_makes_the_whole_unknown() -> None:
    found = llama_footprint(CODER, llama_shape(8192, draft=gguf("mystery", {})), AVX2)
    assert isinstance(found, Unknown)
    assert (found.kind, found.reason.startswith("of its draft model")) == (Ignorance.ARCHITECTURE, True)


def test_on_a_gpu_the_embeddings_stay_with_the_host() -> None:
    found = footprint(CODER, llama_shape(8192, placement=Placement.GPU))
    host = sum(term.size_bytes for term in found.terms if term.name is TermName.WEIGHTS and term.where is Where.HOST)
    assert host == CODER.weights.embedding_bytes
    layers = found.of(TermName.WEIGHTS, TermName.KV, TermName.COMPUTE) - host
    assert found.on(Where.GPU) == layers + GPU_CONTEXT_BYTES
    assert found.of(TermName.REPACKED) == 0


def test_tied_embeddings_are_on_both_sides() -> None:
    found = footprint(SMOL, llama_shape(8192, placement=Placement.GPU))
    assert found.of(TermName.WEIGHTS) == SMOL.weights_bytes + SMOL.weights.embedding_bytes


@given(layers=st.integers(0, 40))
def test_layers_on_the_gpu_leave_the_host(layers: int) -> None:
    found = footprint(CODER, llama_shape(8192, placement=Placement.GPU, gpu_layers=layers))
    assert found.of(TermName.WEIGHTS) == CODER.weights_bytes
    assert found.of(TermName.KV) == 8192 * 12_288
    more = footprint(CODER, llama_shape(8192, placement=Placement.GPU, gpu_layers=layers + 1))
    assert more.on(Where.GPU) >= found.on(Where.GPU)


def test_unified_memory_is_one_place() -> None:
    found = footprint(CODER, llama_shape(8192, placement=Placement.UNIFIED))
    assert found.on(Where.GPU) == 0


def test_an_encoder_has_no_cache_and_computes_its_input_at_once() -> None:
    keys = {"block_count": 12, "embedding_length": 768, "attention.head_count": 12, "feed_forward_length": 3072}
    spec = gguf("nomic-bert", keys, weights_bytes=140 * MIB, vocabulary_size=30_522)
    found = footprint(spec, llama_shape(2048, 4, step=2048, output_rows=2048))
    assert found.of(TermName.KV) == 0
    assert found.of(TermName.COMPUTE) > 2048 * 3072 * 2 * 4


QWEN3 = folder(specs.QWEN3_MOE, weights_bytes=17 * 2**30, vocabulary_size=151_936)


def test_an_mlx_batch_is_as_long_as_its_longest_in_every_row() -> None:
    one, four = (footprint(QWEN3, mlx_shape(8192, sequences)).of(TermName.KV) for sequences in (1, 4))
    assert four == 4 * one
    assert one == 98_304 * 8448


def test_mlx_drops_towers_and_what_it_does_not_load() -> None:
    weights = WeightsShape(dtype="bf16", tower_bytes=2**30, unloaded_bytes=2**29)
    found = footprint(QWEN3.model_copy(update={"weights": weights}), mlx_shape(2048))
    assert term(found, TermName.WEIGHTS).size_bytes == 17 * 2**30 - 2**30 - 2**29
    assert "without 1,536 MiB" in term(found, TermName.WEIGHTS).basis


def test_mlx_quantizes_with_scales_and_biases() -> None:
    plain, quantized = (footprint(QWEN3, mlx_shape(8192, kv_type=kind)).of(TermName.KV) for kind in (None, "q4_0"))
    assert quantized * 64 == plain * 18  # (4/8 + 2*2/64) bytes for 2


def test_a_cpu_has_no_fused_attention() -> None:
    fused, plain = (
        footprint(QWEN3, mlx_shape(8192, fused_attention=fused)).of(TermName.COMPUTE) for fused in (True, False)
    )
    assert plain - fused == 512 * 8192 * 32 * 2


def test_experts_stored_one_by_one_are_there_twice_for_a_layer() -> None:
    apart = QWEN3.model_copy(update={"weights": WeightsShape(dtype="bf16", largest_stack_bytes=300 * MIB)})
    assert footprint(apart, mlx_shape(2048)).of(TermName.LOADING) == 300 * MIB


def test_terms_say_where_they_come_from() -> None:
    for found in (footprint(HYBRID, llama_shape(8192, 4, cache_bytes=1)), footprint(QWEN3, mlx_shape(8192))):
        assert all(term.basis and term.size_bytes > 0 for term in found.terms)
        assert term(found, TermName.WEIGHTS).source is TermSource.HEADER


CONTEXTS = st.integers(256, 262_144)
SHAPES = st.builds(
    llama_shape,
    CONTEXTS,
    st.integers(1, 16),
    unified=st.booleans(),
    step=st.sampled_from([128, 512, 2048]),
    kv_type=st.sampled_from([None, "f16", "q8_0", "q4_0"]),
    checkpoints=st.integers(0, 32),
    cache_bytes=st.integers(0, 2**33),
)
MODELS = st.sampled_from([SMOL, CODER, HYBRID, WINDOWED])


@given(MODELS, SHAPES, CONTEXTS)
def test_more_context_never_takes_less(spec: ModelSpec, shape: LoadShape, context: int) -> None:
    longer = replace(shape, context=max(shape.context, context))
    assert footprint(spec, longer).total_bytes >= footprint(spec, shape).total_bytes


@given(MODELS, SHAPES, st.integers(1, 16))
def test_more_sequences_never_take_less(spec: ModelSpec, shape: LoadShape, sequences: int) -> None:
    more = replace(shape, sequences=max(shape.sequences, sequences))
    assert footprint(spec, more).total_bytes >= footprint(spec, shape).total_bytes


@given(MODELS, SHAPES)
def test_more_bits_never_take_less(spec: ModelSpec, shape: LoadShape) -> None:
    sizes = [footprint(spec, replace(shape, kv_type=kind)).total_bytes for kind in ("q4_0", "q8_0", "f16", "f32")]
    assert sizes == sorted(sizes)


@given(st.sampled_from([SMOL, CODER]), st.integers(1, 500), st.integers(1, 500))
def test_pure_attention_grows_in_proportion(spec: ModelSpec, first: int, second: int) -> None:
    kv = [footprint(spec, llama_shape(count * 256)).of(TermName.KV) for count in (first, second)]
    assert kv[0] * second == kv[1] * first


@given(SHAPES, CONTEXTS)
def test_state_does_not_depend_on_the_context(shape: LoadShape, context: int) -> None:
    other = replace(shape, context=context)
    assert footprint(HYBRID, shape).of(TermName.STATE) == footprint(HYBRID, other).of(TermName.STATE)


@given(CONTEXTS, CONTEXTS, st.integers(1, 8), st.sampled_from([specs.QWEN3_MOE, specs.QWEN3_NEXT, specs.GPT_OSS]))
def test_mlx_grows_with_context_and_sequences(one: int, other: int, sequences: int, config: dict[str, object]) -> None:
    spec = folder(config, weights_bytes=2**30, vocabulary_size=150_000)
    short, long = sorted((one, other))
    assert (
        footprint(spec, mlx_shape(short)).total_bytes
        <= footprint(spec, mlx_shape(long)).total_bytes
        <= footprint(spec, mlx_shape(long, sequences)).total_bytes
    )

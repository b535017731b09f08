"""A footprint from an engine's own account, and what that account leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roost.memory.dry_footprint import dry_footprint
from roost.memory.footprint import GPU_CONTEXT_BYTES, Footprint, TermName, TermSource, Where
from roost.memory.llama_footprint import llama_footprint
from roost.memory.mlx_footprint import mlx_footprint
from roost.memory.placement import GpuMemory, placed
from roost.memory.types import CacheKind, LlamaDryRun, MlxDryRun, Part, Placement
from tests.unit.memory import specs
from tests.unit.memory.specs import CODER, gguf, llama_shape, mlx_shape

MIB = 2**20
ON_CPU = LlamaDryRun(
    (Part("Host", 434 * MIB, 96 * MIB, 300 * MIB), Part("CPU_REPACK", 28 * MIB, 0, 0, is_repacked=True))
)


def test_the_host_maps_its_whole_file_and_keeps_the_copy_beside_it() -> None:
    found = dry_footprint(CODER, llama_shape(8192, 4, unified=True), ON_CPU)
    assert found.of(TermName.WEIGHTS) == CODER.weights_bytes
    assert found.of(TermName.REPACKED) == 28 * MIB
    assert (found.of(TermName.KV), found.of(TermName.COMPUTE)) == (96 * MIB, 300 * MIB)
    assert found.is_dry_run


def test_what_the_account_leaves_out_is_added_by_formula() -> None:
    shape = llama_shape(8192, 4, unified=True, cache_bytes=512 * MIB, output_rows=512)
    formula = llama_footprint(CODER, shape, frozenset())
    assert isinstance(formula, Footprint)
    found = dry_footprint(CODER, shape, ON_CPU)
    for name in (TermName.OUTPUTS, TermName.PROMPT_CACHE, TermName.BASE):
        assert found.of(name) == formula.of(name) > 0


def test_on_gpus_each_side_has_its_own() -> None:
    told = LlamaDryRun(
        (Part("CUDA0", 400 * MIB, 90 * MIB, 200 * MIB, is_gpu=True), Part("Host", 80 * MIB, 0, 16 * MIB))
    )
    found = dry_footprint(CODER, llama_shape(8192, placement=Placement.GPU), told)
    assert found.on(Where.GPU) == 690 * MIB + GPU_CONTEXT_BYTES
    weights = {term.where: term.size_bytes for term in found.terms if term.name is TermName.WEIGHTS}
    assert weights == {Where.HOST: 80 * MIB, Where.GPU: 400 * MIB}


def test_a_draft_counts_on_its_side() -> None:
    told = replace(ON_CPU, draft=(Part("Host", 92 * MIB, 180 * MIB, 22 * MIB),))
    assert dry_footprint(CODER, llama_shape(8192), told).of(TermName.DRAFT) == 294 * MIB


def test_a_form_that_only_the_engine_knows_is_sized_by_its_word() -> None:
    spec = gguf("lfm2", {"block_count": 16}, weights_bytes=700 * MIB, vocabulary_size=65_536)
    told = LlamaDryRun((Part("Host", 700 * MIB, 100 * MIB, 50 * MIB),), state_bytes=4 * MIB)
    found = dry_footprint(spec, llama_shape(8192, 4, unified=True, checkpoints=8), told)
    assert (found.of(TermName.KV), found.of(TermName.STATE)) == (96 * MIB, 4 * MIB)
    assert found.of(TermName.CHECKPOINTS) == 8 * 4 * MIB
    assert found.kv_bytes_per_token == 96 * MIB // 8192


def test_a_model_without_recurrent_layers_has_no_state() -> None:
    assert dry_footprint(CODER, llama_shape(8192), ON_CPU).of(TermName.STATE, TermName.CHECKPOINTS) == 0


def test_an_mlx_account_agrees_with_the_formula_at_every_length() -> None:
    """gpt-oss: half of its layers keep a window."""
    spec = specs.folder(specs.GPT_OSS, weights_bytes=10 * MIB)
    told = MlxDryRun(10 * MIB, (CacheKind(18, 2048, window=128), CacheKind(18, 2048)), "bf16")
    for context, sequences in ((100, 1), (1024, 2), (131_072, 4)):
        shape = mlx_shape(context, sequences)
        formula = mlx_footprint(spec, shape)
        assert isinstance(formula, Footprint)
        assert dry_footprint(spec, shape, told).of(TermName.KV) == formula.of(TermName.KV)
        assert dry_footprint(spec, shape, told).kv_bytes_per_token == formula.kv_bytes_per_token


def test_an_mlx_cache_is_quantized_after_it_was_asked() -> None:
    told = MlxDryRun(10 * MIB, (CacheKind(48, 2048),), "bf16")
    spec = specs.folder(specs.QWEN3_MOE, weights_bytes=10 * MIB)
    plain, small = (dry_footprint(spec, mlx_shape(8192, kv_type=kind), told) for kind in (None, "q8_0"))
    assert small.of(TermName.KV) * 64 == plain.of(TermName.KV) * 34


def test_state_is_counted_once_a_sequence() -> None:
    told = MlxDryRun(10 * MIB, (CacheKind(12, 2048), CacheKind(36, 0, 2_146_304)), "bf16")
    spec = specs.folder(specs.QWEN3_NEXT, weights_bytes=10 * MIB)
    assert dry_footprint(spec, mlx_shape(8192, 3), told).of(TermName.STATE) == 3 * 36 * 2_146_304
    assert {term.source for term in dry_footprint(spec, mlx_shape(8192), told).terms} >= {TermSource.DRY_RUN}


@pytest.mark.parametrize(
    ("device", "gpus", "placement"),
    [
        ("cpu", GpuMemory.OWN, Placement.HOST),
        ("metal", GpuMemory.SHARED, Placement.UNIFIED),
        ("cuda", GpuMemory.OWN, Placement.GPU),
        ("cuda", GpuMemory.SHARED, Placement.UNIFIED),
        ("cuda", GpuMemory.NONE, Placement.HOST),
        ("native", GpuMemory.OWN, Placement.GPU),
        ("native", GpuMemory.NONE, Placement.HOST),
    ],
)
def test_where_a_start_lies_depends_on_engine_and_machine(device: str, gpus: GpuMemory, placement: Placement) -> None:
    assert placed(llama_shape(8192, device=device), gpus).placement is placement


def test_no_layer_on_the_gpu_means_the_host() -> None:
    assert placed(llama_shape(8192, device="cuda", gpu_layers=0), GpuMemory.OWN).placement is Placement.HOST

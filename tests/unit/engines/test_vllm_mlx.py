"""vllm-mlx: which knobs become which flags, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.catalog.spec import AttentionShape, ModelFormat, ModelSpec, Source, SourceKind
from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.vllm_mlx import (
    DEFAULT_BLOCKS,
    VllmMlx,
    arguments,
    cache_blocks,
    cache_refusal,
    saved_tokens,
    traits,
)

FOLDER = Path("/models/qwen3")
QWEN3_TEMPLATE = "<|im_start|>{{ messages }}<tool_call>{{ enable_thinking }}<think></think>"


def spec_of(**values: object) -> ModelSpec:
    base: dict[str, object] = {
        "id": "org/qwen3",
        "format": ModelFormat.SAFETENSORS,
        "path": FOLDER,
        "source": Source(kind=SourceKind.FOLDER, location=str(FOLDER)),
        "capabilities": frozenset({"chat"}),
    }
    return ModelSpec.model_validate(base | values)


def engine() -> VllmMlx:
    return VllmMlx(Paths.from_environment({"ROOST_HOME": "/nowhere", "HOME": "/nowhere"}), {})


def words(spec: ModelSpec | None = None, **knobs: object) -> str:
    return " ".join(arguments(spec or spec_of(), Knobs.model_validate(knobs)))


def problems_of(**knobs: object) -> str:
    return "\n".join(engine().problems(spec_of(), Knobs.model_validate(knobs)))


def test_the_plain_knobs_have_no_problem() -> None:
    assert engine().problems(spec_of(), Knobs()) == []
    assert engine().problems(None, Knobs()) == []


def test_batching_is_always_on_because_simple_mode_refuses_a_second_request() -> None:
    assert "--continuous-batching --offline --max-num-seqs 4" in words()
    assert "--continuous-batching --offline --max-num-seqs 1" in words(continuous_batching=False)


def test_nothing_ends_by_the_engines_clock_or_token_limit() -> None:
    assert "--timeout 31536000" in words()
    assert "--max-tokens 2147483647 --max-request-tokens 2147483647" in words()
    assert "--max-tokens 50 --max-request-tokens 2147483647" in words(generation_cap=50)


def test_the_prefix_cache_has_the_size_of_the_knob() -> None:
    assert "--cache-memory-mb 300" in words(prefix_cache_mb=300)
    assert "--disable-prefix-cache" in words(prefix_cache=False)
    assert "--disable-prefix-cache" in words(prefix_cache_mb=0)


def test_pages_are_counted_from_the_size_of_a_tokens_kv() -> None:
    shape = AttentionShape(layers=30, kv_heads=(3,), key_length=64)
    # 2 * 30 layers * 3 heads * 64 * 2 bytes = 23040 bytes a token, 64 tokens a block.
    assert cache_blocks(spec_of(attention=shape), 100) == 100 * 2**20 // (23040 * 64)
    assert cache_blocks(spec_of(), 100) == DEFAULT_BLOCKS
    assert "--use-paged-cache --max-cache-blocks" in words(paged_cache=True, prefix_sharing=True)


def test_layers_with_different_kv_heads_are_added_up() -> None:
    shape = AttentionShape(layers=2, kv_heads=(4, 0), key_length=64)
    assert cache_blocks(spec_of(attention=shape), 1) == 2**20 // (2 * 4 * 64 * 2 * 64)


def test_parsers_come_from_the_chat_template() -> None:
    found = words(spec_of(chat_template=QWEN3_TEMPLATE))
    assert "--enable-auto-tool-choice --tool-call-parser" in found
    assert "--reasoning-parser qwen3" in found


def test_a_template_that_nobody_knows_gets_no_parser() -> None:
    assert "parser" not in words(spec_of(chat_template="{{ messages }}"))
    assert "parser" not in words()


def test_a_parser_of_the_settings_wins() -> None:
    assert "--tool-call-parser mistral" in words(spec_of(chat_template=QWEN3_TEMPLATE), tool_parser="mistral")


def test_a_parser_that_the_engine_has_not_is_a_problem() -> None:
    assert "vllm-mlx: tool_parser: it has no 'nonsense'" in problems_of(tool_parser="nonsense")
    assert "vllm-mlx: reasoning_parser: it has no 'nonsense'" in problems_of(reasoning_parser="nonsense")


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"threads": 2}, "threads"),
        ({"gpu_layers": 2}, "gpu_layers"),
        ({"speculative_decoding": True, "draft_model": "x"}, "speculative_decoding"),
        ({"paged_cache": True, "prefix_cache": False}, "paged_cache"),
        ({"paged_cache": True, "prefix_sharing": False}, "prefix_sharing"),
        ({"kv_cache_type": "bf16"}, "kv_cache_type"),
        ({"kv_cache_type": "q8_0", "paged_cache": True}, "kv_cache_type"),
    ],
)
def test_a_knob_that_it_cannot_honour_names_the_engine_and_the_knob(knobs: dict[str, object], named: str) -> None:
    assert f"vllm-mlx: {named}" in problems_of(**knobs)


def test_a_quantized_prefix_cache_says_its_bits() -> None:
    assert "--kv-cache-quantization --kv-cache-quantization-bits 8" in words(kv_cache_type="q8_0")


@pytest.mark.parametrize("argument", ["--port", "--api-key=x", "--mcp-config", "--trust", "--timeo"])
def test_an_extra_argument_of_roosts_own_is_refused_also_when_abbreviated(argument: str) -> None:
    assert "set by roost" in problems_of(extra_args=(argument,))


def test_an_adapter_is_refused() -> None:
    assert "use mlx-lm" in str(engine().refusal(spec_of(adapter=FOLDER / "adapters.safetensors")))


def test_images_are_for_vision_models_on_a_gpu() -> None:
    seeing = spec_of(capabilities=frozenset({"chat", "vision"}))
    assert traits(seeing, device="metal").vision
    assert not traits(seeing, device="cpu").vision
    assert not traits(spec_of(), device="metal").vision


@pytest.mark.parametrize(
    ("spec", "knobs", "why"),
    [
        (spec_of(attention=AttentionShape(hybrid=True)), {}, "hybrid"),
        (spec_of(attention=AttentionShape(sliding_window=512)), {}, "sliding-window"),
        (spec_of(), {"paged_cache": True}, "paged"),
        (spec_of(), {"prefix_cache": False}, "no prompt"),
    ],
)
def test_a_cache_that_cannot_be_reused_is_not_saved(spec: ModelSpec, knobs: dict[str, object], why: str) -> None:
    assert why in str(cache_refusal(spec, Knobs.model_validate(knobs)))


@pytest.mark.parametrize("other", [{"fingerprint": "ff"}, {"chat_template_sha256": "ff"}])
def test_other_weights_or_another_template_change_what_a_saved_cache_depends_on(other: dict[str, object]) -> None:
    assert engine().cache_facts(spec_of(**other), Knobs()) != engine().cache_facts(spec_of(), Knobs())
    assert engine().cache_facts(spec_of(), Knobs(context=4096)) == engine().cache_facts(spec_of(), Knobs())
    assert engine().cache_facts(spec_of(), Knobs(kv_cache_type="q8_0")) != engine().cache_facts(spec_of(), Knobs())


def test_the_saved_tokens_are_counted_by_the_files_of_their_ids(tmp_path: Path) -> None:
    folder = tmp_path / "provenance"
    folder.mkdir()
    (folder / "entry_0_tokens.bin").write_bytes(bytes(4 * 500))
    (folder / "entry_1_tokens.bin").write_bytes(bytes(4 * 20))
    (folder / "entry_0.safetensors").write_bytes(bytes(999))
    assert saved_tokens(tmp_path) == 520

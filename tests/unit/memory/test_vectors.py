"""Cache sizes of ten real models, each confirmed by its engine or computed by hand from its config."""

from __future__ import annotations

from fractions import Fraction

import pytest

from roost.memory.cache_form import ELEMENT_BYTES, CacheForm
from roost.memory.cells import llama_cells, mlx_cells
from roost.memory.config_form import config_form
from roost.memory.gguf_form import gguf_form
from tests.unit.memory import specs

HALF = ELEMENT_BYTES["bf16"]


def mlx_total(config: dict[str, object], tokens: int) -> tuple[int, int]:
    """Bytes a token, and all of one sequence with that many cells, as it decodes."""
    form = config_form(specs.folder(config))
    assert isinstance(form, CacheForm)
    state_element = Fraction(4) if form.state and form.state.is_float32 else HALF
    kv = form.kv_bytes(HALF, lambda window: tokens if window is None else min(tokens, window))
    return form.token_bytes(HALF), kv + form.state_bytes(HALF, state_element)


@pytest.mark.parametrize(
    ("name", "config", "tokens", "token_bytes", "total"),
    [
        ("V1 Qwen3-30B-A3B", specs.QWEN3_MOE, 131_072, 98_304, 12_884_901_888),
        ("V5 Qwen3-Next-80B", specs.QWEN3_NEXT, 262_144, 24_576, 6_519_717_888),
        ("V7 gpt-oss-120b", specs.GPT_OSS, 131_072, 36_864, 4_836_556_800),
        ("V8 DeepSeek-V3", specs.DEEPSEEK_V3, 163_840, 70_272, 11_513_364_480),
        ("V9 Nemotron-3-Nano-30B", specs.NEMOTRON, 262_144, 6_144, 1_659_695_104),
        ("V10 Jamba-v0.1", specs.JAMBA, 262_144, 16_384, 4_303_683_584),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_in_mlx_has_the_cache_that_was_computed(
    name: str, config: dict[str, object], tokens: int, token_bytes: int, total: int
) -> None:
    assert mlx_total(config, tokens) == (token_bytes, total), name


@pytest.mark.parametrize(
    ("spec", "context", "token_bytes", "total"),
    [(specs.SMOL, 8_192, 23_040, 188_743_680), (specs.CODER, 32_768, 12_288, 402_653_184)],
    ids=["V2 SmolLM2-135M", "V3 Qwen2.5-Coder-0.5B"],
)
def test_a_model_in_llama_cpp_has_the_cache_that_was_measured(
    spec: object, context: int, token_bytes: int, total: int
) -> None:
    form = gguf_form(spec)  # type: ignore[arg-type]
    assert isinstance(form, CacheForm)
    shape = specs.llama_shape(context)
    assert form.token_bytes(Fraction(2)) == token_bytes
    assert form.kv_bytes(Fraction(2), lambda window: llama_cells(shape, window)) == total


def test_v4_a_float32_model_has_a_float32_cache_in_whole_steps() -> None:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "hidden_size": 576,
    }
    form = config_form(specs.folder(config))
    assert isinstance(form, CacheForm)
    assert form.token_bytes(ELEMENT_BYTES["f32"]) == 46_080
    assert mlx_cells(516) == 768
    assert form.kv_bytes(ELEMENT_BYTES["f32"], lambda window: mlx_cells(516, window)) == 35_389_440


def test_v6_llama_cpp_keeps_the_same_hybrid_in_float32() -> None:
    form = gguf_form(specs.gguf("qwen3next", specs.QWEN3_NEXT_KEYS))
    assert isinstance(form, CacheForm)
    four = Fraction(4)
    assert form.state is not None
    assert form.state_bytes(four, four) == form.state.layers * 2_195_456 == 36 * 2_195_456
    kv = form.kv_bytes(Fraction(2), lambda _: 262_144)
    assert kv + form.state_bytes(four, four) == 6_521_487_360

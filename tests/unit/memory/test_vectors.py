"""Cache sizes of ten real models, each confirmed by its engine or computed by hand from its config."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest

from roost.memory.cache_form import ELEMENT_BYTES, CacheForm
from roost.memory.cells import llama_cells, mlx_cells, streams
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


SMALL = {"block_count": 8, "embedding_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2}
WIDE = {"attention.key_length": 32, "attention.value_length": 32}
MAMBA = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16}
#: Small models of each family that were given to llama.cpp (xllamacpp 2026.10.11549) as headers with tensors of the
#: right shapes, and the bytes of KV and state that it logged: for 8192 tokens in one pool of 4 sequences with steps of
#: 512, and for 1024 tokens in 2 separate caches with steps of 256.
TOLD = {
    "gemma2": ({**SMALL, **WIDE, "block_count": 4, "attention.sliding_window": 512}, (5_505_024, 0), (1_835_008, 0)),
    "gemma3": ({**SMALL, **WIDE, "block_count": 12, "attention.sliding_window": 512}, (10_747_904, 0), (4_980_736, 0)),
    "gpt-oss": ({**SMALL, **WIDE, "block_count": 4, "attention.sliding_window": 128}, (4_718_592, 0), (1_572_864, 0)),
    "cohere2": ({**SMALL, "attention.sliding_window": 256}, (3_276_800, 0), (1_310_720, 0)),
    "olmo2": ({**SMALL, "attention.sliding_window": 256}, (3_276_800, 0), (1_310_720, 0)),
    "llama4": (SMALL, (8_388_608, 0), (2_097_152, 0)),
    "gemma4": (
        {
            **SMALL,
            **WIDE,
            "block_count": 6,
            "attention.key_length_swa": 16,
            "attention.value_length_swa": 16,
            "attention.sliding_window": 512,
            "attention.sliding_window_pattern": [True] * 5 + [False],
        },
        (3_735_552, 0),
        (1_507_328, 0),
    ),
    "deepseek2": (
        {
            **SMALL,
            "block_count": 4,
            "attention.head_count_kv": 1,
            "attention.key_length": 40,
            "attention.value_length": 32,
            "attention.key_length_mla": 24,
            "attention.value_length_mla": 16,
        },
        (2_621_440, 0),
        (655_360, 0),
    ),
    "jamba": (
        {**SMALL, **MAMBA, "attention.head_count_kv": [0, 0, 0, 2] * 2},
        (2_097_152, 233_472),
        (524_288, 116_736),
    ),
    "qwen3next": ({**SMALL, **WIDE, **MAMBA, "ssm.group_count": 4}, (4_194_304, 270_336), (1_048_576, 135_168)),
}


@pytest.mark.parametrize("architecture", TOLD)
def test_a_family_in_llama_cpp_has_the_cache_that_the_engine_told(architecture: str) -> None:
    keys, *expected = TOLD[architecture]
    form = gguf_form(specs.gguf(architecture, keys))
    assert isinstance(form, CacheForm)
    shapes = (specs.llama_shape(8192, 4, unified=True, step=512), specs.llama_shape(1024, 2, step=256))
    for shape, (kv, state) in zip(shapes, expected, strict=True):
        one = form.kv_bytes(Fraction(2), partial(llama_cells, shape))
        assert one * streams(shape) == kv
        assert form.state_bytes(Fraction(4), Fraction(4)) * shape.sequences == state

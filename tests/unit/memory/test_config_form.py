"""config.json of every family, and of none."""

from __future__ import annotations

from typing import Any

import pytest

from roost.memory.cache_form import CacheForm, LayerGroup
from roost.memory.config_form import config_form
from roost.memory.types import Ignorance, Unknown
from tests.unit.memory.specs import DEEPSEEK_V3, JAMBA, NEMOTRON, QWEN3_NEXT, folder

BASE = {
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 512,
}


def form(kind: str, **keys: Any) -> CacheForm:
    found = config_form(folder(BASE | {"model_type": kind} | keys))
    assert isinstance(found, CacheForm), found
    return found


def unknown(kind: str, **keys: Any) -> Unknown:
    found = config_form(folder(BASE | {"model_type": kind} | keys))
    assert isinstance(found, Unknown), found
    return found


def test_head_size_is_the_width_over_the_heads_unless_the_config_says_it() -> None:
    assert form("llama").groups == (LayerGroup(12, 128, 128),)
    assert form("llama", head_dim=32).groups == (LayerGroup(12, 64, 64),)


def test_where_engines_have_other_defaults_the_config_must_say_it() -> None:
    assert unknown("gemma3_text", sliding_window=512).reason.endswith("holds no usable head_dim")
    assert unknown("qwen3", head_dim=128, num_key_value_heads=None).kind is Ignorance.ASK_ENGINE


def test_a_window_counts_only_where_a_layer_is_said_to_have_it() -> None:
    assert form("mistral", sliding_window=4096).groups == (LayerGroup(12, 128, 128),)
    listed = form("mistral", sliding_window=64, layer_types=["sliding_attention", "full_attention"] * 6)
    assert listed.groups == (LayerGroup(6, 128, 128, 64), LayerGroup(6, 128, 128))


@pytest.mark.parametrize(
    ("kind", "keys", "windowed"),
    [
        ("gemma3_text", {}, 10),
        ("gemma3_text", {"sliding_window_pattern": 3}, 8),
        ("cohere2", {}, 9),
        ("gpt_oss", {}, 6),
        ("olmo3", {}, 9),
        ("gemma2", {}, 0),
    ],
)
def test_without_a_list_the_period_tells_which_layers_have_windows(
    kind: str, keys: dict[str, Any], windowed: int
) -> None:
    found = form(kind, head_dim=64, sliding_window=512, **keys)
    assert sum(group.layers for group in found.groups if group.window) == windowed


def test_the_text_part_of_a_multimodal_config_counts() -> None:
    text = {"num_hidden_layers": 6, "head_dim": 256, "num_key_value_heads": 4, "sliding_window": 1024}
    found = form("gemma3", text_config=text, vision_config={"num_hidden_layers": 99})
    assert found.groups == (LayerGroup(5, 1024, 1024, 1024), LayerGroup(1, 1024, 1024))


def test_shared_layers_have_no_cache_and_global_ones_their_own_heads() -> None:
    found = form(
        "gemma4_text",
        head_dim=256,
        global_head_dim=512,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        sliding_window=512,
        num_kv_shared_layers=6,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 2,
    )
    assert found.groups == (LayerGroup(5, 512, 512, 512), LayerGroup(1, 512, 512))


def test_latent_attention_keeps_one_vector_and_its_position() -> None:
    assert form("kimi_k2", **{k: v for k, v in DEEPSEEK_V3.items() if k != "model_type"}).groups == (
        LayerGroup(61, 512, 64),
    )


def test_an_index_has_a_cache_of_its_own() -> None:
    found = form("deepseek_v32", kv_lora_rank=512, qk_rope_head_dim=64, index_head_dim=128)
    assert found.groups == (LayerGroup(12, 512, 64), LayerGroup(12, 128, 128))


def test_deepseek_v2_keeps_all_heads() -> None:
    found = form("deepseek_v2", qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
    assert found.groups == (LayerGroup(12, 8 * 192, 8 * 128),)


def test_each_fourth_layer_of_a_delta_net_attends() -> None:
    found = form("qwen3_5", text_config=QWEN3_NEXT)
    assert found.state is not None
    assert (found.groups[0].layers, found.state.layers) == (12, 36)


def test_jamba_attends_where_its_period_says() -> None:
    found = config_form(folder(JAMBA))
    assert isinstance(found, CacheForm)
    assert found.state is not None
    assert (found.groups[0].layers, found.state.layers, found.state.is_float32) == (4, 28, False)


def test_granite_hybrids_list_their_layers() -> None:
    found = form(
        "granitemoehybrid",
        layer_types=(["mamba"] * 5 + ["attention"]) * 2,
        mamba_n_heads=48,
        mamba_d_head=64,
        mamba_d_state=128,
        mamba_n_groups=1,
        mamba_d_conv=4,
    )
    assert found.state is not None
    assert (found.groups[0].layers, found.state.layers) == (2, 10)
    assert found.state.convolution_elements == 3 * (48 * 64 + 2 * 128)


def test_nemotron_layers_come_as_letters_or_as_words() -> None:
    words = {"M": "mamba", "*": "attention", "E": "moe"}
    listed = {key: value for key, value in NEMOTRON.items() if key != "hybrid_override_pattern"}
    listed["layers_block_type"] = [words[letter] for letter in str(NEMOTRON["hybrid_override_pattern"])]
    assert config_form(folder(listed)) == config_form(folder(NEMOTRON))


@pytest.mark.parametrize("kind", ["mamba2", "rwkv7", "lfm2", "kimi_linear", "falcon_h1", "exaone4"])
def test_forms_of_their_own_are_asked_of_the_engine(kind: str) -> None:
    assert unknown(kind).kind is Ignorance.ASK_ENGINE


@pytest.mark.parametrize("kind", ["", "unheard_of", "Llama", "qwen9"])
def test_an_unknown_type_is_never_guessed(kind: str) -> None:
    assert unknown(kind).kind is Ignorance.ARCHITECTURE


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("llama", {"num_hidden_layers": 2**50}),
        ("llama", {"num_attention_heads": "8", "num_key_value_heads": None}),
        ("mistral", {"layer_types": ["sliding_attention"] * 3, "sliding_window": 8}),
        ("mistral", {"layer_types": ["holographic_attention"] * 12}),
        ("olmo3", {"sliding_window": -1}),
        ("nemotron_h", {"hybrid_override_pattern": "M*?" * 4}),
        ("jamba", {"attn_layer_period": 0}),
    ],
)
def test_a_config_that_makes_no_sense_tells_nothing(kind: str, keys: dict[str, Any]) -> None:
    assert unknown(kind, **keys).kind is Ignorance.ASK_ENGINE

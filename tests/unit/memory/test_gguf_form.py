"""GGUF headers of every family, and of none."""

from __future__ import annotations

from typing import Any

import pytest

from roost.memory.cache_form import CacheForm, LayerGroup
from roost.memory.gguf_form import gguf_form
from roost.memory.types import Ignorance, Unknown
from tests.unit.memory.specs import QWEN3_NEXT_KEYS, gguf

BASE = {"block_count": 12, "embedding_length": 512, "attention.head_count": 8, "attention.head_count_kv": 2}


def form(architecture: str, **keys: Any) -> CacheForm:
    found = gguf_form(gguf(architecture, BASE | {key.replace("__", "."): value for key, value in keys.items()}))
    assert isinstance(found, CacheForm), found
    return found


def test_head_size_is_the_width_over_the_heads_unless_the_header_says_it() -> None:
    assert form("llama").groups == (LayerGroup(12, 128, 128),)
    explicit = form("qwen3", attention__key_length=128, attention__value_length=96)
    assert explicit.groups == (LayerGroup(12, 256, 192),)


def test_without_kv_heads_every_head_has_its_own() -> None:
    found = gguf_form(gguf("llama", {key: value for key, value in BASE.items() if "kv" not in key}))
    assert isinstance(found, CacheForm)
    assert found.groups == (LayerGroup(12, 512, 512),)


def test_layers_may_differ_and_some_may_have_no_attention() -> None:
    found = form("deci", attention__head_count_kv=[2] * 6 + [0] * 2 + [1] * 4)
    assert sorted(group.layers for group in found.groups) == [4, 6]


@pytest.mark.parametrize(
    ("architecture", "keys", "windowed"),
    [
        ("gpt-oss", {"attention.sliding_window": 128}, 6),
        ("gemma3", {"attention.sliding_window": 512}, 10),
        ("gemma3", {}, 0),
        ("gemma2", {}, 6),
        ("llama4", {}, 9),
        ("llama4", {"attention.sliding_window": 0}, 0),
        ("smallthinker", {"attention.sliding_window": 64}, 9),
        ("exaone4", {"attention.sliding_window": 64}, 0),
        ("granite_swa", {"attention.sliding_window": 64, "attention.sliding_window_pattern": [1, 1, 0] * 4}, 8),
        ("gpt-oss", {"attention.sliding_window": 64, "attention.sliding_window_pattern": 3}, 8),
        ("qwen2", {"attention.sliding_window": 64}, 0),
    ],
)
def test_how_many_layers_look_back_at_a_window(architecture: str, keys: dict[str, Any], windowed: int) -> None:
    found = gguf_form(gguf(architecture, BASE | keys))
    assert isinstance(found, CacheForm)
    assert sum(group.layers for group in found.groups if group.window is not None) == windowed
    assert sum(group.layers for group in found.groups) == 12


def test_windowed_layers_may_have_other_head_sizes() -> None:
    found = form(
        "gemma4",
        attention__sliding_window=512,
        attention__sliding_window_pattern=[1, 1, 1, 1, 1, 0] * 2,
        attention__key_length=512,
        attention__value_length=512,
        attention__key_length_swa=256,
        attention__value_length_swa=256,
        attention__shared_kv_layers=6,
    )
    assert set(found.groups) == {LayerGroup(5, 512, 512, 512), LayerGroup(1, 1024, 1024)}


def test_gemma_3n_keeps_the_first_twenty_layers() -> None:
    found = form("gemma3n", block_count=30, attention__sliding_window=512)
    assert {(group.layers, group.window) for group in found.groups} == {(16, 512), (4, None)}


def test_latent_attention_keeps_one_vector_only_when_the_file_was_made_for_it() -> None:
    keys = {
        "attention.head_count": 128,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
    }
    latent = gguf_form(
        gguf("deepseek2", BASE | keys | {"attention.key_length_mla": 192, "attention.value_length_mla": 128})
    )
    assert isinstance(latent, CacheForm)
    assert latent.groups == (LayerGroup(12, 576, 0),)
    keys |= {"attention.head_count_kv": 128, "attention.key_length": 192, "attention.value_length": 128}
    unpacked = gguf_form(gguf("deepseek2", BASE | keys))
    assert isinstance(unpacked, CacheForm)
    assert unpacked.groups == (LayerGroup(12, 128 * 192, 128 * 128),)
    assert unpacked.groups[0].elements == pytest.approx(71 * latent.groups[0].elements, rel=0.01)


def test_an_index_adds_its_own_keys() -> None:
    mla = {"attention__key_length_mla": 192, "attention__value_length_mla": 128, "attention__indexer__key_length": 128}
    found = form(
        "deepseek32", attention__head_count_kv=1, attention__key_length=576, attention__value_length=512, **mla
    )
    assert found.groups == (LayerGroup(12, 576 + 128, 0),)


def test_heads_for_several_tokens_keep_no_cache() -> None:
    assert form("glm4moe", nextn_predict_layers=1).groups == (LayerGroup(11, 128, 128),)


def test_a_list_of_recurrent_layers_wins_over_the_interval() -> None:
    listed = QWEN3_NEXT_KEYS | {"attention.recurrent_layers": [True] * 40 + [False] * 8}
    found = gguf_form(gguf("qwen35", listed))
    assert isinstance(found, CacheForm)
    assert found.state is not None
    assert (found.state.layers, found.groups[0].layers) == (40, 8)


SSM = {"ssm__conv_kernel": 4, "ssm__inner_size": 1024, "ssm__state_size": 16}


def test_no_kv_heads_means_a_recurrent_layer() -> None:
    found = form("jamba", attention__head_count_kv=[0, 0, 0, 2] * 3, **SSM)
    assert found.state is not None
    assert (found.state.layers, found.groups[0].layers) == (9, 3)
    assert (found.state.convolution_elements, found.state.state_elements) == (3 * 1024, 16 * 1024)


def test_a_feed_forward_part_alone_holds_nothing() -> None:
    found = form(
        "nemotron_h",
        attention__head_count_kv=[0, 0, 2] * 4,
        feed_forward_length=[0, 4096, 0] * 4,
        ssm__group_count=8,
        **SSM,
    )
    assert found.state is not None
    assert (found.state.layers, found.groups[0].layers) == (4, 4)
    assert found.state.convolution_elements == 3 * (1024 + 2 * 8 * 16)


def test_encoders_keep_nothing() -> None:
    found = form("nomic-bert")
    assert (found.groups, found.state, found.can_be_cut) == ((), None, True)


@pytest.mark.parametrize("architecture", ["rwkv7", "mamba", "lfm2", "kimi-linear", "deepseek4", "falcon-h1"])
def test_forms_of_their_own_are_asked_of_the_engine(architecture: str) -> None:
    found = gguf_form(gguf(architecture, BASE))
    assert isinstance(found, Unknown)
    assert found.kind is Ignorance.ASK_ENGINE


@pytest.mark.parametrize("architecture", ["", "llama5", "LLAMA", "unheard-of"])
def test_an_unknown_architecture_is_never_guessed(architecture: str) -> None:
    found = gguf_form(gguf(architecture, BASE))
    assert isinstance(found, Unknown)
    assert found.kind is Ignorance.ARCHITECTURE


@pytest.mark.parametrize(
    "keys",
    [
        {"block_count": None},
        {"block_count": 0},
        {"block_count": 2**40},
        {"block_count": True},
        {"attention.head_count": 0},
        {"attention.head_count_kv": [2] * 3},
        {"attention.head_count_kv": [-1] * 12},
        {"attention.head_count_kv": "2"},
        {"embedding_length": 2**62},
        {"embedding_length": None},
    ],
)
def test_a_lying_header_tells_nothing(keys: dict[str, Any]) -> None:
    found = gguf_form(gguf("llama", BASE | keys, attention={}))
    assert isinstance(found, Unknown)
    assert found.kind is Ignorance.ASK_ENGINE

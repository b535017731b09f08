"""The form of a cache from config.json, as mlx-lm builds it: `make_cache` and the attention of each model type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roost.catalog.spec import ModelSpec
from roost.memory.cache_form import CacheForm, RecurrentState, grouped
from roost.memory.keys import HeaderKeys
from roost.memory.types import Ignorance, Unknown

FULL, WINDOW, RECURRENT, NOTHING = "full", "window", "recurrent", "nothing"
#: `layer_types`, `layers_block_type` and the letters of `hybrid_override_pattern`.
_KINDS = {
    "full_attention": FULL,
    "attention": FULL,
    "*": FULL,
    "sliding_attention": WINDOW,
    "linear_attention": RECURRENT,
    "mamba": RECURRENT,
    "mamba2": RECURRENT,
    "M": RECURRENT,
    "mlp": NOTHING,
    "moe": NOTHING,
    "-": NOTHING,
    "E": NOTHING,
}

_PLAIN = """
Klear apertus baichuan_m1 bailing_moe bitnet cohere dbrx deepseek dots1 ernie4_5 ernie4_5_moe exaone gemma gemma2 glm
glm4 glm4_moe gpt2 gpt_bigcode gpt_neox gptj granite granitemoe helium hunyuan hunyuan_v1_dense internlm2 internlm3
lille-130m mimo minicpm minimax minimax_m2 mixtral nanochat nemotron olmo olmo2 olmoe openelm phi phi3 phi3small phimoe
plamo qwen qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_vl qwen3_vl_moe seed_oss smollm3 solar_open
stablelm starcoder2 telechat3
"""
_OWN = """
afm7 afmoe bailing_hybrid bailing_moe_linear bailing_moe_v3 deepseek_v41 exaone4 exaone_moe falcon_h1 falcon_mamba gear
iquestloopcoder kimi_k3 kimi_linear laguna lfm2 lfm2-vl lfm2_moe llama4 longcat_flash longcat_flash_ngram mamba mamba2
mellum mimo_v2_flash minimax_m3_vl minicpm3 muse_glimmer nanbeige nemotron-nas olmo_hybrid plamo2 plamo3 recurrent_gemma
rwkv7 spark2_5 step3p5
"""


#: Engines have defaults of their own for these, other than hidden size over heads: the config must say it.
_EXPLICIT = """
cohere2 gemma gemma2 gemma3 gemma3_text gemma3n gemma4 gemma4_text glm glm4 glm4_moe gpt_oss helium qwen3 qwen3_5
qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next qwen3_vl qwen3_vl_moe
"""


class _Missing(Exception):
    """A key without which the cache's size cannot be told."""


@dataclass(frozen=True)
class _Config:
    keys: HeaderKeys
    layers: int
    explicit: bool = False

    def need(self, *names: str) -> int:
        value = self.keys.positive(*names)
        if value is None:
            raise _Missing(names[0])
        return value

    @property
    def head_dim(self) -> int:
        if self.explicit or self.keys.positive("head_dim"):
            return self.need("head_dim")
        return self.need("hidden_size", "n_embd", "d_model") // self.need(*_HEADS)

    @property
    def kv_heads(self) -> int:
        names = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
        return self.need(*names) if self.explicit else self.need(*names, *_HEADS)


_HEADS = ("num_attention_heads", "n_head", "n_heads")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_Reader = Callable[[_Config], CacheForm]


def config_form(spec: ModelSpec) -> CacheForm | Unknown:
    """What mlx-lm will keep for each token and sequence, or why config.json does not tell."""
    kind = spec.architecture or ""
    if kind in _OWN.split():
        return Unknown(Ignorance.ASK_ENGINE, f"{kind} has a cache of its own form; only its engine knows it")
    reader = _READERS.get(kind)
    if reader is None:
        return Unknown(Ignorance.ARCHITECTURE, f"roost does not know the cache of the model type {kind!r}")
    keys = HeaderKeys.of_config(spec.metadata)
    layers = keys.layers(*_LAYERS)
    try:
        if layers is None:
            raise _Missing(_LAYERS[0])
        return reader(_Config(keys, layers, kind in _EXPLICIT.split()))
    except _Missing as missing:
        return Unknown(Ignorance.ASK_ENGINE, f"config.json of this {kind} model holds no usable {missing}")


def _plain(config: _Config) -> CacheForm:
    cell = config.kv_heads * config.head_dim
    return CacheForm("grouped attention", grouped([(cell, cell, None)] * config.layers))


def _windowed(default_period: int, key: str = "sliding_window_pattern") -> _Reader:
    """Windows by `layer_types`, else all but the last of each period; 0: without a list no layer has one."""

    def read(config: _Config) -> CacheForm:
        kinds = _kinds(config, "layer_types")
        if kinds is None:
            period = (config.keys.positive(key) if key else None) or default_period
            kinds = tuple(WINDOW if period and layer % period != period - 1 else FULL for layer in range(config.layers))
        return _by_kinds(config, kinds)

    return read


def _by_kinds(config: _Config, kinds: tuple[str, ...]) -> CacheForm:
    if WINDOW not in kinds:
        return _plain(config)
    window, cell = config.need("sliding_window"), config.kv_heads * config.head_dim
    groups = grouped((cell, cell, window if kind == WINDOW else None) for kind in kinds)
    return CacheForm("sliding window", groups)


def _shared(config: _Config) -> CacheForm:
    """Gemma 3n and 4: the last layers read the cache of earlier ones; Gemma 4's global layers have own heads."""
    kinds = _kinds(config, "layer_types")
    if kinds is None:
        raise _Missing("layer_types")
    window, cell = config.need("sliding_window"), config.kv_heads * config.head_dim
    full_heads = config.kv_heads
    if config.keys.flag("attention_k_eq_v"):
        full_heads = config.keys.positive("num_global_key_value_heads") or full_heads
    full_cell = full_heads * (config.keys.positive("global_head_dim") or config.head_dim)
    own = max(config.layers - (config.keys.number("num_kv_shared_layers") or 0), 0)
    groups = grouped((cell, cell, window) if kind == WINDOW else (full_cell, full_cell, None) for kind in kinds[:own])
    return CacheForm("sliding window, shared caches", groups)


def _latent(config: _Config) -> CacheForm:
    cell = config.need("kv_lora_rank"), config.need("qk_rope_head_dim"), None
    return CacheForm("latent attention", grouped([cell] * config.layers))


def _indexed(config: _Config) -> CacheForm:
    """The index has a cache of its own, whose values are its keys once more."""
    index = config.need("index_head_dim")
    latent = config.need("kv_lora_rank"), config.need("qk_rope_head_dim"), None
    return CacheForm("latent attention with an index", grouped([latent, (index, index, None)] * config.layers))


def _unpacked_latent(config: _Config) -> CacheForm:
    """DeepSeek-V2 in mlx-lm keeps all heads."""
    heads = config.need(*_HEADS)
    key = config.need("qk_nope_head_dim") + config.need("qk_rope_head_dim")
    cell = heads * key, heads * config.need("v_head_dim"), None
    return CacheForm("grouped attention", grouped([cell] * config.layers))


def _delta(config: _Config) -> CacheForm:
    """Qwen3-Next and 3.5: gated delta nets, each Nth layer attends."""
    interval = config.keys.positive("full_attention_interval") or 4
    attends = [(layer + 1) % interval == 0 for layer in range(config.layers)]
    cell = config.kv_heads * config.head_dim
    keys = config.need("linear_num_key_heads") * config.need("linear_key_head_dim")
    values = config.need("linear_num_value_heads") * config.need("linear_value_head_dim")
    kernel = config.need("linear_conv_kernel_dim")
    state = RecurrentState(
        attends.count(False), (kernel - 1) * (2 * keys + values), values * config.need("linear_key_head_dim")
    )
    return CacheForm("linear attention, every Nth layer full", grouped([(cell, cell, None)] * sum(attends)), state)


def _jamba(config: _Config) -> CacheForm:
    kinds = _kinds(config, "layers_block_type") or tuple(
        FULL if layer % config.need("attn_layer_period") == config.keys.number("attn_layer_offset") else RECURRENT
        for layer in range(config.layers)
    )
    inner = config.need("mamba_expand") * config.need("hidden_size")
    state = (config.need("mamba_d_conv") - 1) * inner, inner * config.need("mamba_d_state")
    return _mamba(config, kinds, *state, is_float32=False)


def _granite_hybrid(config: _Config) -> CacheForm:
    kinds = _kinds(config, "layer_types", "layers_block_type")
    if kinds is None:
        raise _Missing("layer_types")
    inner, width = config.need("mamba_n_heads") * config.need("mamba_d_head"), config.need("mamba_d_state")
    channels = inner + 2 * config.need("mamba_n_groups") * width
    return _mamba(config, kinds, (config.need("mamba_d_conv") - 1) * channels, inner * width)


def _nemotron_h(config: _Config) -> CacheForm:
    kinds = _kinds(config, "hybrid_override_pattern", "layers_block_type", "layer_types")
    if kinds is None:
        raise _Missing("hybrid_override_pattern")
    inner, width = config.need("mamba_num_heads") * config.need("mamba_head_dim"), config.need("ssm_state_size")
    channels = inner + 2 * config.need("n_groups") * width
    return _mamba(config, kinds, (config.need("conv_kernel") - 1) * channels, inner * width)


def _mamba(
    config: _Config, kinds: tuple[str, ...], convolution: int, state: int, *, is_float32: bool = True
) -> CacheForm:
    cell = config.kv_heads * config.head_dim
    held = RecurrentState(kinds.count(RECURRENT), convolution, state, is_float32)
    groups = grouped([(cell, cell, None)] * kinds.count(FULL))
    return CacheForm("recurrent layers between attention layers", groups, held)


def _kinds(config: _Config, *names: str) -> tuple[str, ...] | None:
    """One kind a layer; None when the config has no such list. A kind that nobody knows makes the size untellable."""
    words = config.keys.words(*names)
    if words is None:
        return None
    kinds = tuple(_KINDS.get(word, "") for word in words)
    if "" in kinds or (len(kinds) < config.layers):
        raise _Missing(names[0])
    return kinds


_READERS: Mapping[str, _Reader] = {
    **dict.fromkeys(_PLAIN.split(), _plain),
    **dict.fromkeys(("llama", "mistral", "mistral3", "ministral3"), _windowed(0, key="")),
    **dict.fromkeys(("gemma3", "gemma3_text"), _windowed(6)),
    **dict.fromkeys(("gemma3n", "gemma4", "gemma4_text"), _shared),
    **dict.fromkeys(("deepseek_v3", "kimi_k2", "kimi_k25", "glm4_moe_lite", "mistral4"), _latent),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), _indexed),
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), _delta),
    "deepseek_v2": _unpacked_latent,
    "gpt_oss": _windowed(2, key=""),
    "cohere2": _windowed(4),
    "olmo3": _windowed(4, key=""),
    "jamba": _jamba,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron_h,
}

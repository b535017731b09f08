"""Which form of cache each architecture of llama.cpp has: `create_memory` and `load_arch_hparams` as a table.

An architecture that is not here is unknown: llama.cpp may serve it, roost does not guess what it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    #: Every layer keeps keys and values of every token.
    PLAIN = "grouped attention"
    #: Some layers look back at a window only.
    WINDOWED = "sliding window"
    #: One compressed vector a token (MLA).
    LATENT = "latent attention"
    #: MLA with a second small cache by which tokens are picked (DSA).
    INDEXED = "latent attention with an index"
    #: Recurrent layers, each Nth one attends.
    INTERVAL = "linear attention, every Nth layer full"
    #: Recurrent where the array of KV heads says 0.
    HEADS = "recurrent layers between attention layers"
    #: No cache at all: encoders and diffusion models.
    NONE = "no cache"
    #: A form of its own, which only the engine knows.
    OWN = "a cache of its own form"


@dataclass(frozen=True)
class Family:
    form: Form
    #: Windowed: of `period` layers all but one look back at the window, when the header holds no pattern.
    period: int = 0
    #: The first of a period is the full one, else the last.
    full_first: bool = False
    #: Window when the header names none; None: then no layer has one.
    window: int | None = None
    #: Layers with a cache of their own, counted from the first; None: as `shared_kv_layers` of the header says.
    own_cache_layers: int | None = None
    #: Windowed only with this many layers.
    only_with_layers: int | None = None
    #: Some layers are a feed-forward part alone, told by their width, and hold nothing.
    lone_feed_forward: bool = False


_PLAIN = """
apertus arcee arctic baichuan bailingmoe bailingmoe2 bitnet bloom chameleon chatglm codeshell cogvlm command-r dbrx deci
deepseek dots1 ernie4_5 ernie4_5-moe exaone falcon gemma glm4 glm4moe gpt2 gptj gptneox granite granitemoe grok grovemoe
hunyuan-dense hunyuan-moe hunyuan_vl internlm2 jais llama llama-embed maincoder minicpm minicpm3 minimax-m2 mistral3 mpt
nemotron olmo olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plm qwen qwen2 qwen2moe qwen2vl qwen3
qwen3moe qwen3vl qwen3vlmoe refact seed_oss smollm3 stablelm starcoder starcoder2 xverse
"""
_NONE = """
bert dream eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llada llada-moe modern-bert neo-bert nomic-bert
nomic-bert-moe rnd1
"""
_OWN = """
arwkv7 bailingmoe3 deepseek4 dots3note falcon-h1 glm5-next kimi-k3 kimi-linear lfm2 lfm2moe mamba mamba2 minimax-01
minimax-m3 plamo2 qwen4exp rwkv6 rwkv6qwen2 rwkv7 t5
"""

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(_PLAIN.split(), Family(Form.PLAIN)),
    **dict.fromkeys(_NONE.split(), Family(Form.NONE)),
    **dict.fromkeys(_OWN.split(), Family(Form.OWN)),
    **dict.fromkeys(("deepseek2", "deepseek2-ocr", "mistral4"), Family(Form.LATENT)),
    **dict.fromkeys(("deepseek32", "glm-dsa"), Family(Form.INDEXED)),
    **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe"), Family(Form.INTERVAL, period=4)),
    **dict.fromkeys(("jamba", "granitehybrid"), Family(Form.HEADS)),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe"), Family(Form.HEADS, lone_feed_forward=True)),
    **dict.fromkeys(("afmoe", "cohere2", "mellum", "olmo2"), Family(Form.WINDOWED, period=4)),
    **dict.fromkeys(("gemma4", "granite_swa", "mimo2", "step35"), Family(Form.WINDOWED)),
    "cohere2moe": Family(Form.WINDOWED, period=4, full_first=True),
    "exaone-moe": Family(Form.WINDOWED, period=4, window=128),
    "exaone4": Family(Form.WINDOWED, period=4, window=4096, only_with_layers=64),
    "gemma2": Family(Form.WINDOWED, period=2, window=4096),
    "gemma3": Family(Form.WINDOWED, period=6),
    "gemma3n": Family(Form.WINDOWED, period=5, own_cache_layers=20),
    "gpt-oss": Family(Form.WINDOWED, period=2),
    "laguna": Family(Form.WINDOWED, period=4, full_first=True),
    "llama4": Family(Form.WINDOWED, period=4, window=8192),
    "plamo3": Family(Form.WINDOWED, period=8),
    "smallthinker": Family(Form.WINDOWED, period=4, full_first=True),
}

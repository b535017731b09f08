"""Small files of random weights that llama.cpp really loads: a LoRA adapter and an image projector for SmolLM2-135M,
and a whole reranker."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roost.testing.tiny_models import TINY_METADATA, adapter_metadata, projector_metadata, write_gguf

Shapes = dict[str, tuple[int, ...]]

#: SmolLM2-135M's.
_WIDTH, _INNER_WIDTH = 576, 1536
#: Of the other files' own blocks.
_SMALL_WIDTH, _SMALL_INNER_WIDTH = 32, 64
#: A picture of 28 pixels in patches of 14 is four tokens.
_EYE_BLOCKS, _PIXELS, _PATCH = 2, 28, 14


def write_adapter(path: Path, *, seed: int = 7, blocks: Iterable[int] = range(10, 14)) -> Path:
    """A LoRA adapter of rank 4 whose weights change what the model says beyond mistaking."""
    shapes: Shapes = {}
    for block in blocks:
        shapes[f"blk.{block}.ffn_down.weight.lora_a"] = (_INNER_WIDTH, 4)
        shapes[f"blk.{block}.ffn_down.weight.lora_b"] = (4, _WIDTH)
    return _write(path, {**adapter_metadata(), "adapter.lora.alpha": 8.0}, shapes, seed, spread=0.3)


def write_projector(path: Path, *, seed: int = 3) -> Path:
    """A LLaVA-like projector: a vision transformer and a perceptron of two layers behind it."""
    metadata = projector_metadata(_WIDTH) | {
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": _PIXELS,
        "clip.vision.patch_size": _PATCH,
        "clip.vision.embedding_length": _SMALL_WIDTH,
        "clip.vision.feed_forward_length": _SMALL_INNER_WIDTH,
        "clip.vision.block_count": _EYE_BLOCKS,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": (0.5, 0.5, 0.5),
        "clip.vision.image_std": (0.5, 0.5, 0.5),
    }
    return _write(path, metadata, _projector_shapes(), seed, spread=0.1)


def write_reranker(path: Path, *, seed: int = 5, more_words: Iterable[str] = ()) -> Path:
    """A BERT of two blocks with a head that scores a pair of texts; it knows a few words, letters and digits. Its
    scores mean nothing and are always the same. A word twice in `more_words` is what llama.cpp aborts on."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = (*marks, *(f"\u2581{word}" for word in (*_WORDS, *more_words, *letters)), *letters)
    metadata = {
        "general.architecture": "bert",
        "general.name": "Tiny Reranker",
        "general.file_type": 0,
        "bert.block_count": 2,
        "bert.context_length": 128,
        "bert.embedding_length": _SMALL_WIDTH,
        "bert.feed_forward_length": _SMALL_INNER_WIDTH,
        "bert.attention.head_count": 2,
        "bert.attention.layer_norm_epsilon": 1e-5,
        "bert.attention.causal": False,
        "bert.pooling_type": 4,
        "bert.classifier.output_labels": ("score",),
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": tuple(3 if word in marks else 1 for word in vocabulary),
        **{f"tokenizer.ggml.{name}_token_id": number for name, number in _MARKS.items()},
    }
    return _write(path, metadata, _reranker_shapes(len(vocabulary)), seed, spread=0.5)


_WORDS = ("the", "cat", "sits", "on", "mat", "sky", "is", "blue", "what", "paris", "capital", "of", "france")
#: llama.cpp reads the misspelt key.
_MARKS = {"padding": 0, "unknown": 1, "cls": 2, "bos": 2, "seperator": 3, "eos": 3, "mask": 4}


def _reranker_shapes(words: int) -> Shapes:
    wide = _SMALL_WIDTH
    shapes: Shapes = {
        "token_embd.weight": (wide, words),
        "token_types.weight": (wide, 2),
        "position_embd.weight": (wide, 128),
        **_norm("token_embd_norm", wide),
        **_linear("cls", wide, wide),
        **_linear("cls.output", wide, 1),
    }
    for block in ("blk.0", "blk.1"):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes |= _linear(f"{block}.{part}", wide, wide)
        shapes |= _norm(f"{block}.attn_output_norm", wide) | _norm(f"{block}.layer_output_norm", wide)
        shapes |= _linear(f"{block}.ffn_up", wide, _SMALL_INNER_WIDTH)
        shapes |= _linear(f"{block}.ffn_down", _SMALL_INNER_WIDTH, wide)
    return shapes


def _projector_shapes() -> Shapes:
    wide = _SMALL_WIDTH
    shapes: Shapes = {
        "v.class_embd": (wide,),
        "v.patch_embd.weight": (_PATCH, _PATCH, 3, wide),
        "v.position_embd.weight": (wide, (_PIXELS // _PATCH) ** 2 + 1),
        **_norm("v.pre_ln", wide),
        **_norm("v.post_ln", wide),
        **_linear("mm.0", wide, _WIDTH),
        **_linear("mm.2", _WIDTH, _WIDTH),
    }
    for block in (f"v.blk.{number}" for number in range(_EYE_BLOCKS)):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= _linear(f"{block}.{part}", wide, wide)
        shapes |= _norm(f"{block}.ln1", wide) | _norm(f"{block}.ln2", wide)
        shapes |= _linear(f"{block}.ffn_up", wide, _SMALL_INNER_WIDTH)
        shapes |= _linear(f"{block}.ffn_down", _SMALL_INNER_WIDTH, wide)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _write(path: Path, metadata: Mapping[str, Any], shapes: Shapes, seed: int, spread: float) -> Path:
    """Everything float32; a bias is 0, a norm's weight is 1."""
    made = random.Random(seed)
    weights = {name: _numbers(made, name, shape, spread) for name, shape in shapes.items()}
    tensors = [(name, shape, 0) for name, shape in shapes.items()]
    return write_gguf(path, {**dict.fromkeys(TINY_METADATA), **metadata}, tensors=tensors, weights=weights)


def _numbers(made: random.Random, name: str, shape: tuple[int, ...], spread: float) -> bytes:
    count = 1
    for dimension in shape:
        count *= dimension
    if name.endswith(".bias"):
        return bytes(4 * count)
    if len(shape) == 1 and name.endswith(".weight"):
        return array("f", [1.0] * count).tobytes()
    return array("f", (made.gauss(0, spread) for _ in range(count))).tobytes()

#!/usr/bin/env python3
"""Turn a llama-architecture GGUF into an MLX / safetensors model folder in float32, without torch.

    make_mlx_model.py GGUF OUT_FOLDER

Needs numpy, safetensors and tokenizers, which are in the environments of the MLX engines. Float32, because an MLX
engine on a CPU takes minutes for a token with 4-bit weights. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf_reader import Gguf
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

#: GGUF's name of a layer's part -> Hugging Face's.
LAYER_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TOP_PARTS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
#: GGUF token types (llama.cpp's llama_token_attr): 3 = control, 4 = user defined.
CONTROL, USER_DEFINED = 3, 4
#: llama.cpp's expression behind `tokenizer.ggml.pre = smollm`, after each digit became a word of its own.
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"


class Metadata:
    """The GGUF's key-value pairs; `shape` fills in the architecture's prefix."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.architecture = self["general.architecture"]
        if self.architecture != "llama" or self["tokenizer.ggml.pre"] != "smollm":
            raise SystemExit(
                f"cannot convert: this reads llama models with the smollm tokenizer, not {self.architecture} with "
                f"{self['tokenizer.ggml.pre']}; take a folder of that model from a hub instead"
            )

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def shape(self, key: str) -> Any:
        return self._values[f"{self.architecture}.{key}"]


def config(metadata: Metadata, tied: bool) -> dict[str, Any]:
    heads = metadata.shape("attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": metadata.shape("embedding_length"),
        "intermediate_size": metadata.shape("feed_forward_length"),
        "num_hidden_layers": metadata.shape("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.shape("attention.head_count_kv"),
        "head_dim": metadata.shape("embedding_length") // heads,
        # The header stores it as a float32: 1e-05 comes back as 9.999999747378752e-06.
        "rms_norm_eps": float(f"{metadata.shape('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": metadata.shape("rope.freq_base"),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "max_position_embeddings": metadata.shape("context_length"),
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "dtype": "float32",
        "attention_bias": False,
        "mlp_bias": False,
    }


def undo_rope_permutation(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF interleaves the two halves of each head's rows; Hugging Face keeps them apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def named_weight(name: str, weight: np.ndarray, metadata: Metadata) -> tuple[str, np.ndarray]:
    if name in TOP_PARTS:
        return TOP_PARTS[name], weight
    _, layer, part, _ = name.split(".")
    if part == "attn_q":
        weight = undo_rope_permutation(weight, metadata.shape("attention.head_count"))
    if part == "attn_k":
        weight = undo_rope_permutation(weight, metadata.shape("attention.head_count_kv"))
    return f"model.layers.{layer}.{LAYER_PARTS[part]}.weight", np.ascontiguousarray(weight)


def tokenizer(metadata: Metadata) -> Tokenizer:
    """Byte-level BPE from the GGUF's own vocabulary and merges; token ids equal those of llama.cpp."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    built = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(GPT2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens(metadata)])
    return built


def special_tokens(metadata: Metadata) -> list[str]:
    types = metadata["tokenizer.ggml.token_type"]
    tokens = metadata["tokenizer.ggml.tokens"]
    return [token for token, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER_DEFINED)]


def tokenizer_config(metadata: Metadata) -> dict[str, Any]:
    def token(kind: str) -> str:
        return str(metadata["tokenizer.ggml.tokens"][metadata[f"tokenizer.ggml.{kind}_token_id"]])

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "extra_special_tokens": special_tokens(metadata),
        "model_max_length": metadata.shape("context_length"),
        "clean_up_tokenization_spaces": False,
        "chat_template": metadata["tokenizer.chat_template"],
    }


def write_folder(gguf: Gguf, folder: Path) -> None:
    metadata = Metadata(gguf.metadata)
    tensors = dict(named_weight(name, weight, metadata) for name, weight in gguf.weights())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "mlx"})
    index = {
        "metadata": {"total_size": sum(weight.nbytes for weight in tensors.values())},
        "weight_map": dict.fromkeys(sorted(tensors), "model.safetensors"),
    }
    tokenizer(metadata).save(str(folder / "tokenizer.json"))
    for name, content in {
        "model.safetensors.index.json": index,
        "config.json": config(metadata, tied="lm_head.weight" not in tensors),
        "tokenizer_config.json": tokenizer_config(metadata),
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def convert(gguf: Path, out: Path) -> None:
    """Writes the folder beside its place and renames it, so that a half-written one is never taken for a model."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        write_folder(Gguf(gguf), folder)
        (folder / "model.safetensors").chmod(0o644)
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    convert(Path(arguments[0]), Path(arguments[1]))
    print(arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])

"""Writers of very small model files, whole and valid unless asked otherwise; written from the formats' descriptions,
not with the readers' tables, so that both can be wrong only independently."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: What most tests mean by a model.
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
TINY_METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 0,
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 8,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "Ġhello", "<|end|>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.chat_template": TEMPLATE,
}
#: (name, dimensions, ggml type id)
TINY_TENSORS: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("token_embd.weight", (8, 4), 0),
    ("blk.0.ffn_up.weight", (8, 16), 0),
)
_TYPE_SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 12: (256, 144), 30: (1, 2)}
_ALIGNMENT = 32


def gguf_bytes(
    metadata: Mapping[str, Any] | None = None,
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = TINY_TENSORS,
    *,
    version: int = 3,
    seed: int = 0,
    weights: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """A GGUF file. `metadata` is laid over TINY_METADATA, None removes a key; `seed` changes the weights alone.
    `weights`: the bytes of tensors that are to mean something."""
    merged = {key: value for key, value in {**TINY_METADATA, **(metadata or {})}.items() if value is not None}
    pairs = b"".join(_string(key) + _typed(value) for key, value in merged.items())
    infos, data = b"", b""
    for name, shape, type_id in tensors:
        infos += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_id, len(data))
        data += _padded(weights.get(name) or bytes([seed % 256]) * _size(shape, type_id))
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(merged)) + pairs + infos
    return _padded(header) + data


def write_gguf(path: Path, metadata: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """`gguf_bytes` into a file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(metadata, **options))
    return path


def projector_metadata(width: int = 8) -> dict[str, Any]:
    """Lays a vision projector over TINY_METADATA."""
    return {"general.architecture": "clip", "general.type": "mmproj", "clip.vision.projection_dim": width}


def adapter_metadata(architecture: str = "llama") -> dict[str, Any]:
    """Lays a LoRA adapter over TINY_METADATA."""
    return {"general.architecture": architecture, "general.type": "adapter", "adapter.type": "lora"}


def safetensors_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...], int]] | None = None) -> bytes:
    """A safetensors file of (dtype, shape, bytes) by name."""
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, (dtype, shape, size) in (tensors or {"model.embed.weight": ("F32", (4, 8), 128)}).items():
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(offset)


def write_folder(
    path: Path,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, tuple[str, tuple[int, ...], int]] | None = None,
) -> Path:
    """A safetensors model folder; `config` is laid over a small llama's."""
    path.mkdir(parents=True, exist_ok=True)
    base = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "vocab_size": 4,
    }
    (path / "config.json").write_text(json.dumps(base | dict(config or {})))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return path


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Any) -> bytes:
    """Type id and value of one metadata pair."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value) if 0 <= value < 2**32 else struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str | bytes):
        return struct.pack("<I", 8) + _string(value)
    if value and isinstance(value[0], str | bytes):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
    if value and isinstance(value[0], float):
        return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def _size(shape: Sequence[int], type_id: int) -> int:
    elements = 1
    for dimension in shape:
        elements *= dimension
    block, size = _TYPE_SIZES[type_id]
    return elements // block * size


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % _ALIGNMENT)

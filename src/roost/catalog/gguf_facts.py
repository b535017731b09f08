"""What a GGUF header means: architecture, size, quantization, window, tokenizer, capabilities."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roost.catalog.facts import (
    ADAPTER,
    MODEL,
    PROJECTOR,
    Facts,
    FileFacts,
    active_parameters,
    bits_per_weight,
)
from roost.catalog.gguf import GgufHeader, LongArray, read_gguf, tensor_bytes
from roost.catalog.gguf_types import FILE_TYPE_GUESSED, FILE_TYPES, POOLING_RANK
from roost.catalog.reading import open_regular
from roost.catalog.refusal import ModelRefused, Truncated
from roost.catalog.samples import identity_sha256
from roost.catalog.template import read_template
from roost.catalog.tokens import longest_in_gguf
from roost.catalog.weights_shape import gguf_weights

#: Encoders that embed even when the header names no pooling.
EMBEDDING_ARCHITECTURES = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert"}
    | {"gemma-embedding", "t5encoder"}
)
#: Keys that only models with recurrent layers have.
_RECURRENT_KEYS = ("ssm.state_size", "ssm.inner_size", "shortconv.l_cache", "wkv.head_size")
_SPLIT = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
_METADATA_TEXT_LIMIT = 4096
_METADATA_KEYS_LIMIT = 512
_METADATA_LIST_LIMIT = 512
_SPLIT_LIMIT = 1000


def split_files(path: Path) -> tuple[Path, ...]:
    """All parts of a split model, from any of them; the path itself when it is not split."""
    match = _SPLIT.match(path.name)
    if not match:
        return (path,)
    count = int(match["count"])
    if not 1 <= count <= _SPLIT_LIMIT:
        raise ModelRefused(f"cannot read {path.name}: {count} parts")
    return tuple(
        path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}.gguf") for number in range(1, count + 1)
    )


def split_stem(name: str) -> str:
    """The file's stem without its part number."""
    match = _SPLIT.match(name)
    return match["stem"] if match else Path(name).stem


def inspect_gguf(path: Path) -> Facts:
    """Facts of a GGUF model, projector or adapter; all parts of a split one. Raises ModelRefused or OSError."""
    paths = split_files(path)
    for part in paths:
        if not part.exists():
            raise Truncated(f"cannot use {path.name}: its part {part.name} is missing; fetch it into the same folder")
    headers: list[GgufHeader] = []
    files: list[FileFacts] = []
    for part in paths:
        header, facts = _read_part(part)
        headers.append(header)
        files.append(facts)
    return _facts(paths[0], headers, files)


def _read_part(path: Path) -> tuple[GgufHeader, FileFacts]:
    with open_regular(path) as file:
        facts = FileFacts.of(path, "weights", file, "")
        header = read_gguf(file, facts.size_bytes)
        return header, FileFacts.of(path, _role(header), file, identity_sha256(file, facts.size_bytes, header.sha256))


def _kind(header: GgufHeader) -> str:
    declared = header.text("general.type")
    if declared == "adapter":
        return ADAPTER
    return PROJECTOR if declared in ("mmproj", "projector") or header.text("general.architecture") == "clip" else MODEL


def _role(header: GgufHeader) -> str:
    return {ADAPTER: "adapter", PROJECTOR: "projector"}.get(_kind(header), "weights")


def _facts(path: Path, headers: Sequence[GgufHeader], files: Sequence[FileFacts]) -> Facts:
    first = headers[0]
    kind = _kind(first)
    architecture = first.text("general.architecture")
    if kind == MODEL and not architecture:
        raise ModelRefused(f"cannot use {path.name}: its header names no architecture")
    _check_split(path, headers)
    total, in_experts = _parameters(headers)
    weights_bytes = sum(tensor_bytes(header) for header in headers)
    template = read_template(first.text("tokenizer.chat_template"))
    return Facts(
        kind=kind,
        format="gguf",
        path=str(path),
        files=tuple(files),
        architecture=architecture,
        name=first.text("general.name"),
        parameters_total=total,
        parameters_active=active_parameters(
            total,
            in_experts,
            _architecture_integer(first, "expert_count"),
            _architecture_integer(first, "expert_used_count"),
        ),
        weights_bytes=weights_bytes,
        quantization=_quantization(headers),
        bits_per_weight=bits_per_weight(weights_bytes, total),
        context_length=_architecture_integer(first, "context_length"),
        vocabulary_size=_vocabulary_size(first),
        longest_token_bytes=longest_in_gguf(first),
        template=template,
        capabilities=_capabilities(first, bool(template.text)) if kind == MODEL else (),
        attention=_attention(first),
        weights=gguf_weights(first, headers),
        metadata=_metadata(first),
        warnings=_warnings(headers),
        projection_length=first.integer("clip.vision.projection_dim") if kind == PROJECTOR else None,
    )


def _check_split(path: Path, headers: Sequence[GgufHeader]) -> None:
    promised = headers[0].integer("split.count") or 1
    if promised != len(headers):
        raise ModelRefused(f"cannot use {path.name}: its header says {promised} parts, its name {len(headers)}")
    expected = headers[0].integer("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    if expected is not None and len(headers) > 1 and expected != found:
        raise ModelRefused(f"cannot use {path.name}: {found} tensors in all parts, {expected} are promised")


def _parameters(headers: Sequence[GgufHeader]) -> tuple[int, int]:
    """All parameters, and those inside experts (llama.cpp merges a layer's experts into `*_exps` tensors)."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    in_experts = sum(tensor.elements for tensor in tensors if "_exps." in tensor.name)
    return sum(tensor.elements for tensor in tensors), in_experts


def _architecture_value(header: GgufHeader, key: str) -> str:
    return f"{header.text('general.architecture')}.{key}"


def _architecture_integer(header: GgufHeader, key: str) -> int | None:
    return header.integer(_architecture_value(header, key))


def _quantization(headers: Sequence[GgufHeader]) -> str | None:
    """The declared file type if the tensors bear it out, else the type of most bytes."""
    sizes: Counter[str] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type_name] += tensor.size_bytes or 0
    declared = FILE_TYPES.get((headers[0].integer("general.file_type") or 0) & ~FILE_TYPE_GUESSED)
    has_declared = headers[0].integer("general.file_type") is not None
    if has_declared and declared and any(_bears_out(declared, name) for name in sizes):
        return declared
    return sizes.most_common(1)[0][0] if sizes else None


def _bears_out(declared: str, tensor_type: str) -> bool:
    """Q4_K_M holds Q4_K, MXFP4_MOE holds MXFP4, IQ3_M holds IQ3_S: the same bits and family."""
    return declared.split("_")[0] == tensor_type.split("_")[0]


def _vocabulary_size(header: GgufHeader) -> int | None:
    tokens = header.strings("tokenizer.ggml.tokens")
    return tokens.count if tokens else _architecture_integer(header, "vocab_size")


def _capabilities(header: GgufHeader, has_template: bool) -> tuple[str, ...]:
    pooling = _architecture_integer(header, "pooling_type") or 0
    if pooling == POOLING_RANK:
        return ("rerank",)
    if pooling or header.text("general.architecture") in EMBEDDING_ARCHITECTURES:
        return ("embedding",)
    return ("chat", "completion") if has_template else ("completion",)


def _attention(header: GgufHeader) -> dict[str, Any]:
    layers = _architecture_integer(header, "block_count")
    kv_heads = header.integers(_architecture_value(header, "attention.head_count_kv"))
    heads = header.integers(_architecture_value(header, "attention.head_count"))
    recurrent = any(_architecture_value(header, key) in header.metadata for key in _RECURRENT_KEYS)
    return {
        "layers": layers,
        "heads": max(heads, default=None),
        "kv_heads": _interleaved(header, layers, kv_heads) if recurrent else kv_heads or heads,
        "key_length": _architecture_integer(header, "attention.key_length"),
        "value_length": _architecture_integer(header, "attention.value_length"),
        "sliding_window": _architecture_integer(header, "attention.sliding_window") or None,
        "embedding_length": _architecture_integer(header, "embedding_length"),
        "hybrid": recurrent or (0 in kv_heads and any(kv_heads)),
    }


def _interleaved(header: GgufHeader, layers: int | None, kv_heads: tuple[int, ...]) -> tuple[int, ...]:
    """With `full_attention_interval` N only each Nth layer attends, the others are recurrent (Qwen3-Next, 3.5)."""
    interval = _architecture_integer(header, "full_attention_interval")
    if not interval or interval < 2 or len(kv_heads) != 1 or not layers or layers > 10_000:
        return kv_heads
    return tuple(kv_heads[0] if layer % interval == interval - 1 else 0 for layer in range(layers))


def _metadata(header: GgufHeader) -> dict[str, Any]:
    """Everything an engine may want: no vocabulary, no template, strings cut, lists bounded."""
    kept = {
        key: plain
        for key, value in header.metadata.items()
        if key != "tokenizer.chat_template" and (plain := _plain(value)) is not None
    }
    return dict(list(kept.items())[:_METADATA_KEYS_LIMIT])


def _plain(value: object) -> object:
    if isinstance(value, LongArray):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace")[:_METADATA_TEXT_LIMIT].decode("utf-8", "ignore")
    if isinstance(value, list):
        return value if len(value) <= _METADATA_LIST_LIMIT and all(map(_finite, value)) else None
    return value if _finite(value) else None


def _finite(value: object) -> bool:
    """JSON has no infinity; None stands for it nowhere."""
    return not isinstance(value, float) or math.isfinite(value)


def _warnings(headers: Sequence[GgufHeader]) -> tuple[str, ...]:
    unknown = sorted({tensor.type_name for header in headers for tensor in header.tensors if tensor.size_bytes is None})
    return (f"tensor types {', '.join(unknown)} are unknown here: sizes are of the whole file",) if unknown else ()

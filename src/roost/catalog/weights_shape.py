"""Which parts of the weights load differently from the rest: copied, dropped, stacked, or touched for few tokens.

Pure; takes names and sizes from the headers. What a model needs in memory is computed elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from roost.catalog.gguf import GgufHeader
from roost.catalog.safetensors import StoredTensor

#: Whole layers of a text model, in either format.
_LAYER = re.compile(r"(?:^|\.)(?:layers|blk|h)\.(\d{1,5})\.")
_STACKED = re.compile(r"_exps\.|\.(?:switch_mlp|switch_glu)\.|\.experts\.(?!\d)")
_EXPERT_APART = re.compile(r"^(.*\.experts)\.\d+\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:token_embd|embed_tokens|word_embeddings|wte|embed_in)\.")
_OUTPUT = re.compile(r"(?:^|\.)(?:output|lm_head|embed_out)\.(?:weight|scales|biases|bias)$")
#: Towers for images and sound in a multimodal folder, and what joins them to the text model.
_TOWER = re.compile(
    r"(?:^|\.)(?:vision_tower|vision_model|visual|audio_tower|embed_vision|embed_audio|multi_modal_projector"
    r"|mm_projector|vision_embed_tokens|patch_embedding)\."
)
#: Heads that predict several tokens at once.
_MULTI_TOKEN = re.compile(r"(?:^|\.)(?:mtp|nextn)\.")
_FLOATS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


def gguf_weights(header: GgufHeader, headers: Sequence[GgufHeader]) -> dict[str, Any]:
    """Fields of `spec.WeightsShape`. `header`: the part that holds the metadata."""
    tensors = [tensor for part in headers for tensor in part.tensors]
    architecture = header.text("general.architecture")
    matrices: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1 and (tensor.name.startswith("blk.") or _OUTPUT.search(tensor.name)):
            matrices[tensor.type_name] += tensor.size_bytes or 0
    sizes = [(tensor.name, tensor.size_bytes or 0) for tensor in tensors]
    return {
        **_shared(sizes),
        "experts": header.integer(f"{architecture}.expert_count") or None,
        "experts_used": header.integer(f"{architecture}.expert_used_count") or None,
        "matrices_bytes": dict(matrices),
    }


def folder_weights(
    tensors: Iterable[StoredTensor], layers: int | None, experts: int | None, experts_used: int | None
) -> dict[str, Any]:
    """Fields of `spec.WeightsShape` of a safetensors folder with `layers` layers by its config."""
    everything = list(tensors)
    sizes = [(tensor.name, tensor.size_bytes) for tensor in everything]
    floats: Counter[str] = Counter()
    for tensor in everything:
        if tensor.dtype in _FLOATS:
            floats[_FLOATS[tensor.dtype]] += tensor.size_bytes
    return {
        **_shared(sizes),
        "experts": experts,
        "experts_used": experts_used,
        "tower_bytes": _sum(sizes, _TOWER),
        "unloaded_bytes": sum(size for name, size in sizes if _is_unloaded(name, layers)),
        "largest_stack_bytes": _largest_stack(sizes),
        "dtype": next((name for name, _ in floats.most_common(1)), None),
    }


def _shared(sizes: Sequence[tuple[str, int]]) -> dict[str, Any]:
    embedding = [(name, size) for name, size in sizes if _EMBEDDING.search(name) and not _LAYER.search(name)]
    return {
        "embedding_bytes": sum(size for _, size in embedding),
        "tied": bool(embedding) and not any(_OUTPUT.search(name) and not _LAYER.search(name) for name, _ in sizes),
        "expert_bytes": sum(size for name, size in sizes if _STACKED.search(name) or _EXPERT_APART.search(name)),
    }


def _sum(sizes: Sequence[tuple[str, int]], pattern: re.Pattern[str]) -> int:
    return sum(size for name, size in sizes if pattern.search(name))


def _is_unloaded(name: str, layers: int | None) -> bool:
    """Multi-token heads and the layers behind the last: text engines drop them while they load."""
    if _TOWER.search(name):
        return False
    layer = _LAYER.search(name)
    beyond = layer is not None and layers is not None and int(layer[1]) >= layers
    return beyond or bool(_MULTI_TOKEN.search(name))


def _largest_stack(sizes: Sequence[tuple[str, int]]) -> int:
    """Experts that are stored one by one are stacked at load: for one layer both copies are there."""
    stacks: Counter[str] = Counter()
    for name, size in sizes:
        if apart := _EXPERT_APART.search(name):
            stacks[apart[1]] += size
    return max(stacks.values(), default=0)

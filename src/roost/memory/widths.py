"""How wide a model's layers are: what buffers of a computation depend on."""

from __future__ import annotations

from dataclasses import dataclass

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.memory.keys import HeaderKeys

#: Assumed where the header does not say: most models are four times as wide inside as outside.
_USUAL_RATIO = 4


@dataclass(frozen=True)
class Widths:
    """Elements of one token in one layer."""

    embedding: int
    #: The widest feed-forward part that works on one token, experts together.
    feed_forward: int
    heads: int
    head: int
    vocabulary: int

    def activations(self) -> int:
        """Elements that are alive at once for one token in the widest layer: gate and up of the feed-forward part, a
        few vectors of the embedding's width, queries and what attention makes of them. Fitted on llama.cpp's compute
        buffers of two models (14.4 and 36.7 MiB at 512 tokens), on the upper edge of both."""
        return 2 * self.feed_forward + 6 * self.embedding + 4 * self.heads * self.head


def widths_of(spec: ModelSpec) -> Widths:
    """From the header of either format."""
    if spec.format is ModelFormat.GGUF:
        keys = HeaderKeys.of_gguf(spec.metadata, spec.architecture or "")
        return _widths(spec, keys, *_gguf_feed_forward(keys))
    keys = HeaderKeys.of_config(spec.metadata)
    return _widths(spec, keys, *_config_feed_forward(keys))


def _widths(spec: ModelSpec, keys: HeaderKeys, dense: int, experts: int) -> Widths:
    shape = spec.attention
    embedding = _bounded(shape.embedding_length)
    heads = _bounded(shape.heads) or 1
    head = _bounded(shape.key_length) or embedding // heads
    return Widths(
        embedding, max(dense, experts) or _USUAL_RATIO * embedding, heads, head, _bounded(spec.vocabulary_size)
    )


def _bounded(value: int | None) -> int:
    return value if value is not None and 0 < value < 2**31 else 0


def _gguf_feed_forward(keys: HeaderKeys) -> tuple[int, int]:
    layers = keys.layers("block_count") or 1
    each = keys.each("feed_forward_length", layers) or (0,)
    expert = keys.each("expert_feed_forward_length", layers) or (0,)
    used, shared = keys.number("expert_used_count") or 0, keys.number("expert_shared_feed_forward_length") or 0
    return max(each), used * max(expert) + shared


def _config_feed_forward(keys: HeaderKeys) -> tuple[int, int]:
    dense = keys.number("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size") or 0
    used = keys.number("num_experts_per_tok", "num_experts_per_token", "experts_per_token") or 0
    shared = keys.number("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size") or 0
    return dense, used * (keys.number("moe_intermediate_size") or dense) + shared

"""What config.json of a Hugging Face or MLX folder means. Pure: takes the parsed object."""

from __future__ import annotations

from typing import Any

from roost.catalog.facts import TemplateFacts
from roost.catalog.refusal import ModelRefused

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_USED_EXPERT_KEYS = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_top_k")
#: Layer kinds of `layer_types` that keep no KV cache that grows with the context.
_RECURRENT_LAYERS = frozenset({"linear_attention", "mamba", "mamba2", "recurrent", "conv", "rwkv", "ssm", "lightning"})
_RECURRENT_KEYS = ("mamba_d_state", "ssm_state_size", "state_size", "linear_num_value_heads", "hybrid_override_pattern")
_VISION_KEYS = ("vision_config", "vision_tower", "mm_vision_tower", "visual")
_LAYERS_LIMIT = 10_000
#: Where a multimodal config keeps its text model.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config")


def refuse_code(config: dict[str, Any], where: str) -> None:
    """Raises ModelRefused for a config that makes a loader run the folder's own Python."""
    for key in ("auto_map", "model_file"):
        if config.get(key):
            raise ModelRefused(
                f"cannot use this model: {where} names code to run ({key!r}); "
                "take a conversion without it, such as a GGUF"
            )


class FolderConfig:
    """Reads fields where text models keep them: in `text_config` of a multimodal config, else at the top."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.top = config
        nested = next((config[key] for key in TEXT_CONFIGS if config.get(key)), None)
        self.text: dict[str, Any] = {**config, **nested} if isinstance(nested, dict) else config

    @property
    def architecture(self) -> str | None:
        value = self.top.get("model_type")
        return value[:128] if isinstance(value, str) and value else None

    @property
    def context_length(self) -> int | None:
        return self.first_integer(_CONTEXT_KEYS)

    @property
    def vocabulary_size(self) -> int | None:
        return self.integer("vocab_size")

    @property
    def experts(self) -> int | None:
        return self.first_integer(_EXPERT_KEYS)

    @property
    def experts_used(self) -> int | None:
        return self.first_integer(_USED_EXPERT_KEYS)

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return any(self.top.get(key) for key in _VISION_KEYS)

    def integer(self, key: str) -> int | None:
        value = self.text.get(key)
        return value if type(value) is int and 0 < value < 2**63 else None

    def first_integer(self, keys: tuple[str, ...]) -> int | None:
        return next((value for key in keys if (value := self.integer(key)) is not None), None)

    def attention(self) -> dict[str, Any]:
        """Fields of `spec.AttentionShape`."""
        layers = self.first_integer(("num_hidden_layers", "n_layer", "num_layers", "n_layers"))
        heads = self.first_integer(("num_attention_heads", "n_head", "n_heads"))
        kv_heads = self.first_integer(("num_key_value_heads", "num_kv_heads", "multi_query_group_num")) or heads
        per_layer = self._kv_heads(layers, kv_heads)
        return {
            "layers": layers,
            "heads": heads,
            "kv_heads": per_layer,
            "key_length": self.integer("head_dim"),
            "value_length": self.first_integer(("v_head_dim", "head_dim")),
            "sliding_window": self._sliding_window(),
            "embedding_length": self.first_integer(("hidden_size", "n_embd", "d_model", "dim")),
            "hybrid": 0 in per_layer or any(self.text.get(key) for key in _RECURRENT_KEYS),
        }

    def _sliding_window(self) -> int | None:
        return None if self.text.get("use_sliding_window") is False else self.integer("sliding_window")

    def _kv_heads(self, layers: int | None, kv_heads: int | None) -> tuple[int, ...]:
        """One entry, or one a layer with 0 where `layer_types` or the interval says that it is recurrent."""
        if kv_heads is None:
            return ()
        kinds = self.text.get("layer_types")
        if isinstance(kinds, list) and len(kinds) <= _LAYERS_LIMIT and _RECURRENT_LAYERS.intersection(map(str, kinds)):
            return tuple(0 if kind in _RECURRENT_LAYERS else kv_heads for kind in map(str, kinds))
        interval = self.integer("full_attention_interval")
        if interval and interval > 1 and layers and layers <= _LAYERS_LIMIT:
            return tuple(kv_heads if layer % interval == interval - 1 else 0 for layer in range(layers))
        return (kv_heads,)

    def quantization(self) -> dict[str, Any]:
        """The quantization block (mlx `quantization`, Hugging Face `quantization_config`); {} when there is none."""
        for config in (self.top, self.text):
            for key in ("quantization", "quantization_config"):
                block = config.get(key)
                if isinstance(block, dict):
                    return block
        return {}

    def capabilities(self, template: TemplateFacts, *, pools: bool) -> tuple[str, ...]:
        """`pools`: the folder holds sentence-transformers modules."""
        names = [name for name in self._list("architectures") if isinstance(name, str)]
        if any(name.endswith("ForSequenceClassification") for name in names):
            return ("rerank",)
        if pools or (names and not any("For" in name or "LMHead" in name for name in names)):
            return ("embedding",)
        spoken = ("chat", "completion") if template.text else ("completion",)
        return (*spoken, "vision") if self.sees else spoken

    def _list(self, key: str) -> list[Any]:
        value = self.top.get(key)
        return value if isinstance(value, list) else []

"""Models as their headers tell them: real shapes, no files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roost.catalog.folder_config import FolderConfig
from roost.catalog.spec import AttentionShape, ModelFile, ModelFormat, ModelSpec, Source, SourceKind, WeightsShape
from roost.memory.types import LoadShape, Runtime


def gguf(architecture: str, keys: dict[str, Any], **more: Any) -> ModelSpec:
    """A GGUF model; `keys` without the architecture's prefix."""
    values: dict[str, Any] = {
        "id": "org/a",
        "format": ModelFormat.GGUF,
        "path": Path("/models/a.gguf"),
        "source": Source(kind=SourceKind.FILE, location="/models/a.gguf"),
        "architecture": architecture,
        "metadata": {f"{architecture}.{key}": value for key, value in keys.items()},
        "attention": AttentionShape(
            layers=keys.get("block_count"),
            heads=_first(keys.get("attention.head_count")),
            key_length=keys.get("attention.key_length"),
            embedding_length=keys.get("embedding_length"),
        ),
    }
    return ModelSpec.model_validate(values | more)


def folder(config: dict[str, Any], **more: Any) -> ModelSpec:
    """A safetensors model by its config.json."""
    values: dict[str, Any] = {
        "id": "org/a",
        "format": ModelFormat.SAFETENSORS,
        "path": Path("/models/a"),
        "source": Source(kind=SourceKind.FOLDER, location="/models/a"),
        "architecture": config.get("model_type"),
        "metadata": config,
        "attention": AttentionShape(**FolderConfig(config).attention()),
        "weights": WeightsShape(dtype="bf16"),
    }
    return ModelSpec.model_validate(values | more)


def file(role: str, size_bytes: int) -> ModelFile:
    return ModelFile(
        path=Path(f"/models/{role}"),
        role=role,
        size_bytes=size_bytes,
        mtime_ns=0,
        device=1,
        inode=1,
        identity_sha256="0" * 64,
    )


def llama_shape(context: int, sequences: int = 1, **more: Any) -> LoadShape:
    return LoadShape(engine="llama.cpp", runtime=Runtime.LLAMA_CPP, context=context, sequences=sequences, **more)


def mlx_shape(context: int, sequences: int = 1, **more: Any) -> LoadShape:
    return LoadShape(engine="mlx-lm", runtime=Runtime.MLX, context=context, sequences=sequences, **more)


def _first(value: Any) -> int | None:
    return value[0] if isinstance(value, list) else value


SMOL_KEYS = {
    "block_count": 30,
    "embedding_length": 576,
    "feed_forward_length": 1536,
    "attention.head_count": 9,
    "attention.head_count_kv": 3,
}
#: SmolLM2-135M-Instruct Q4_1 as the catalog reads it.
SMOL = gguf(
    "llama",
    SMOL_KEYS,
    weights_bytes=96_576_768,
    vocabulary_size=49_152,
    context_length=8192,
    weights=WeightsShape(embedding_bytes=30_081_024, tied=True, matrices_bytes={"Q4_1": 66_355_200}),
)
#: Qwen2.5-Coder-0.5B-Instruct Q4_K_M.
CODER = gguf(
    "qwen2",
    {
        "block_count": 24,
        "embedding_length": 896,
        "feed_forward_length": 4864,
        "attention.head_count": 14,
        "attention.head_count_kv": 2,
    },
    weights_bytes=485_452_288,
    vocabulary_size=151_936,
    context_length=32_768,
    weights=WeightsShape(
        embedding_bytes=93_592_576,
        matrices_bytes={"Q8_0": 146_105_344, "Q6_K": 42_900_480, "Q5_0": 173_150_208, "Q4_K": 29_417_472},
    ),
)
QWEN3_MOE = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "hidden_size": 2048,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
QWEN3_NEXT = {
    "model_type": "qwen3_next",
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "hidden_size": 2048,
    "full_attention_interval": 4,
    "linear_num_value_heads": 32,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
QWEN3_NEXT_KEYS = {
    "block_count": 48,
    "embedding_length": 2048,
    "attention.head_count": 16,
    "attention.head_count_kv": 2,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "full_attention_interval": 4,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 4096,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_size": 2880,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "hidden_size": 7168,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
}
NEMOTRON = {
    "model_type": "nemotron_h",
    "num_hidden_layers": 52,
    "hybrid_override_pattern": "M" * 23 + "*" * 6 + "E" * 23,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_size": 2688,
    "mamba_num_heads": 64,
    "mamba_head_dim": 64,
    "ssm_state_size": 128,
    "n_groups": 8,
    "conv_kernel": 4,
}
JAMBA = {
    "model_type": "jamba",
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_expand": 2,
}

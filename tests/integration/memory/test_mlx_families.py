"""Every family of mlx-lm, built without weights by the engine's own code, against the formula for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines.mlx_lm import MlxLm
from roost.memory import dry_run
from roost.memory.dry_footprint import dry_footprint
from roost.memory.footprint import Footprint, TermName
from roost.memory.mlx_footprint import mlx_footprint
from roost.memory.types import MlxDryRun
from tests.unit.memory import specs

#: What every model needs and no cache depends on.
BASE: dict[str, Any] = {
    "vocab_size": 128,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"layer_types": ["sliding_attention", "full_attention"] * 4, "sliding_window": 128},
    "qwen2": {"head_dim": 16},
    "gemma2": {
        "query_pre_attn_scalar": 32,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {"sliding_window": 128, "sliding_window_pattern": 4, "query_pre_attn_scalar": 32},
    "gemma4_text": {
        "sliding_window": 128,
        "global_head_dim": 64,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "num_kv_shared_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 4,
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 128,
    },
    "gpt_oss": {"sliding_window": 128, "num_local_experts": 4, "num_experts_per_tok": 2},
    "cohere2": {
        "head_dim": 16,
        "sliding_window": 128,
        "sliding_window_pattern": 4,
        "logit_scale": 1.0,
        "layer_norm_bias": False,
    },
    "deepseek_v2": {
        "rope_scaling": {"type": "yarn", "factor": 1.0, "original_max_position_embeddings": 4096},
        "kv_lora_rank": 32,
        "q_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 24,
    },
    "deepseek_v3": {
        "kv_lora_rank": 32,
        "q_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 24,
    },
    "deepseek_v32": {
        "kv_lora_rank": 32,
        "q_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 24,
        "index_head_dim": 16,
        "index_n_heads": 2,
        "index_topk": 64,
    },
    "qwen3_next": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "partial_rotary_factor": 0.25,
        "linear_num_value_heads": 8,
        "linear_num_key_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "norm_topk_prob": True,
    },
    "jamba": {
        "head_dim": 16,
        "attn_layer_period": 4,
        "attn_layer_offset": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_conv": 4,
        "mamba_d_state": 16,
        "mamba_expand": 2,
    },
    "granitemoehybrid": {
        "layer_types": ["mamba", "mamba", "attention", "mamba"] * 2,
        "head_dim": 16,
        "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 32,
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_d_state": 32,
        "mamba_n_groups": 2,
        "mamba_d_conv": 4,
        "mamba_proj_bias": False,
        "mamba_conv_bias": True,
        "attention_bias": False,
        "position_embedding_type": "nope",
    },
    "nemotron_h": {
        "num_hidden_layers": 6,
        "hybrid_override_pattern": "M-M*M-",
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 32,
        "n_groups": 2,
        "conv_kernel": 4,
        "attention_bias": False,
        "mamba_proj_bias": False,
        "mlp_bias": False,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_limit": [0.0, 1.0],
        "layer_norm_epsilon": 1e-5,
    },
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_formula_of_a_family_is_what_its_model_does(kind: str, mlx_lm_python: Path, tmp_path: Path) -> None:
    config = BASE | {"model_type": kind} | FAMILIES[kind]
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = specs.folder(config, path=tmp_path, capabilities=frozenset({"chat", "completion"}))
    engine = MlxLm(
        Paths.from_environment({"ROOST_HOME": "/nonexistent/roost"}),
        os.environ | {"ROOST_ENGINE_MLX_LM_PYTHON": str(mlx_lm_python)},
    )
    told = dry_run.ask(lambda home: engine.dry_run(spec, Knobs(), ModelSettings(), home))
    assert isinstance(told, MlxDryRun), told
    assert told.dtype == "bf16"
    for context, sequences in ((1000, 1), (4096, 3)):
        shape = specs.mlx_shape(context, sequences)
        formula, asked = mlx_footprint(spec, shape), dry_footprint(spec, shape, told)
        assert isinstance(formula, Footprint), formula
        for name in (TermName.KV, TermName.STATE):
            assert asked.of(name) == formula.of(name), (name, context, told)

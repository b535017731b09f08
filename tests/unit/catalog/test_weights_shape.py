"""Parts of the weights that load differently, told by tensor names alone."""

import io

from roost.catalog.folder import _metadata
from roost.catalog.gguf import read_gguf
from roost.catalog.safetensors import StoredTensor
from roost.catalog.spec import ModelSpec, WeightsShape
from roost.catalog.weights_shape import folder_weights, gguf_weights
from roost.testing.tiny_models import gguf_bytes


def gguf_shape(tensors, metadata=None):
    raw = gguf_bytes(metadata, tensors=tensors)
    header = read_gguf(io.BytesIO(raw), len(raw))
    return WeightsShape(**gguf_weights(header, [header]))


def folder_shape(names, layers=2, **more):
    tensors = [StoredTensor(name, dtype, (1,), size) for name, (dtype, size) in names.items()]
    return WeightsShape(**folder_weights(tensors, layers, more.get("experts"), more.get("experts_used")))


def test_embeddings_without_an_output_matrix_serve_for_both():
    shape = gguf_shape([("token_embd.weight", (8, 4), 0), ("blk.0.ffn_up.weight", (8, 16), 0)])
    assert (shape.embedding_bytes, shape.tied) == (128, True)
    apart = gguf_shape([("token_embd.weight", (8, 4), 0), ("output.weight", (8, 4), 0)])
    assert (apart.embedding_bytes, apart.tied) == (128, False)


def test_the_output_of_an_attention_layer_is_no_output_matrix():
    assert gguf_shape([("token_embd.weight", (8, 4), 0), ("blk.0.attn_output.weight", (8, 8), 0)]).tied


def test_matrices_are_summed_by_type_without_norms_and_embeddings():
    shape = gguf_shape(
        [
            ("token_embd.weight", (32, 4), 2),
            ("blk.0.attn_norm.weight", (32,), 0),
            ("blk.0.ffn_up.weight", (32, 16), 2),
            ("blk.0.ffn_down.weight", (32, 16), 3),
        ]
    )
    assert shape.matrices_bytes == {"Q4_0": 16 * 18, "Q4_1": 16 * 20}


def test_experts_and_how_many_work_are_told():
    shape = gguf_shape(
        [("blk.0.ffn_up_exps.weight", (8, 4, 8), 0), ("blk.0.ffn_up_shexp.weight", (8, 4), 0)],
        {"llama.expert_count": 8, "llama.expert_used_count": 2},
    )
    assert (shape.expert_bytes, shape.experts, shape.experts_used) == (8 * 4 * 8 * 4, 8, 2)


def test_a_folder_tells_towers_and_what_text_engines_drop():
    shape = folder_shape(
        {
            "language_model.model.embed_tokens.weight": ("BF16", 100),
            "language_model.model.layers.1.mlp.up_proj.weight": ("U32", 70),
            "language_model.model.layers.1.mlp.up_proj.scales": ("BF16", 7),
            "language_model.model.layers.2.mlp.up_proj.weight": ("BF16", 11),
            "mtp.layers.0.mlp.up_proj.weight": ("BF16", 13),
            "vision_tower.encoder.layers.5.mlp.weight": ("F32", 17),
        }
    )
    assert (shape.tower_bytes, shape.unloaded_bytes) == (17, 11 + 13)
    assert (shape.embedding_bytes, shape.tied, shape.dtype) == (100, True, "bf16")


def test_experts_that_are_stored_one_by_one_are_stacked_layer_by_layer():
    names = {
        f"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight": ("BF16", 10 * (layer + 1))
        for layer in range(2)
        for expert in range(4)
    }
    shape = folder_shape(names, experts=4, experts_used=2)
    assert (shape.expert_bytes, shape.largest_stack_bytes) == (120, 80)
    stacked = folder_shape({"model.layers.0.mlp.switch_mlp.up_proj.weight": ("U32", 50)}, experts=4)
    assert (stacked.expert_bytes, stacked.largest_stack_bytes) == (50, 0)


def test_a_long_config_keeps_what_the_cache_depends_on():
    table = {f"model.layers.{layer}.mlp": {"bits": 4, "group_size": 64} for layer in range(500)}
    kept = _metadata(
        {
            "num_hidden_layers": 48,
            "layer_types": ["linear_attention", "full_attention"] * 24,
            "quantization": table,
            "text_config": {"num_key_value_heads": 2, "quantization": table, "deep": [[1]]},
        }
    )
    assert kept == {
        "num_hidden_layers": 48,
        "layer_types": ["linear_attention", "full_attention"] * 24,
        "text_config": {"num_key_value_heads": 2},
    }


def test_specs_from_before_have_no_shape_and_are_read_all_the_same():
    old = {"id": "a", "format": "gguf", "path": "/a.gguf", "source": {"kind": "file", "location": "/a.gguf"}}
    assert ModelSpec.model_validate(old).weights == WeightsShape()

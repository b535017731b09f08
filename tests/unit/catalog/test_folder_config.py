"""config.json: windows, attention, experts, vision, code."""

import pytest

from roost.catalog.facts import TemplateFacts
from roost.catalog.folder_config import FolderConfig, refuse_code
from roost.catalog.refusal import ModelRefused

SPOKEN = TemplateFacts(text="{{ x }}")


@pytest.mark.parametrize("key", ["auto_map", "model_file"])
def test_a_config_that_names_code_is_refused(key):
    with pytest.raises(ModelRefused, match=key):
        refuse_code({key: {"AutoModel": "modeling.Model"}}, "config.json")


def test_an_empty_auto_map_names_nothing():
    refuse_code({"auto_map": {}}, "config.json")


def test_the_text_part_of_a_multimodal_config_counts():
    config = FolderConfig(
        {
            "model_type": "gemma3",
            "vision_config": {"hidden_size": 99},
            "text_config": {"max_position_embeddings": 131072, "hidden_size": 64, "num_hidden_layers": 3},
        }
    )
    assert config.architecture == "gemma3"
    assert config.context_length == 131072
    assert config.attention()["embedding_length"] == 64
    assert "vision" in config.capabilities(SPOKEN, pools=False)


def test_layer_types_tell_recurrent_layers():
    config = FolderConfig(
        {
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        }
    )
    assert config.attention()["kv_heads"] == (0, 0, 0, 2)
    assert config.attention()["hybrid"] is True


def test_an_interval_tells_them_too():
    config = FolderConfig({"num_hidden_layers": 4, "num_attention_heads": 2, "full_attention_interval": 2})
    assert config.attention()["kv_heads"] == (0, 2, 0, 2)


def test_sliding_layers_keep_their_heads():
    config = FolderConfig({"num_attention_heads": 2, "sliding_window": 512, "layer_types": ["sliding_attention"] * 2})
    attention = config.attention()
    assert (attention["kv_heads"], attention["sliding_window"], attention["hybrid"]) == ((2,), 512, False)


def test_a_window_that_is_switched_off_is_none():
    assert FolderConfig({"sliding_window": 4096, "use_sliding_window": False}).attention()["sliding_window"] is None


@pytest.mark.parametrize(
    ("architectures", "pools", "expected"),
    [
        (["LlamaForCausalLM"], False, ("chat", "completion")),
        (["Qwen3ForCausalLM"], True, ("embedding",)),
        (["BertModel"], False, ("embedding",)),
        (["XLMRobertaForSequenceClassification"], False, ("rerank",)),
    ],
)
def test_the_head_tells_what_it_is_for(architectures, pools, expected):
    assert FolderConfig({"architectures": architectures}).capabilities(SPOKEN, pools=pools) == expected


def test_without_a_template_it_only_completes():
    config = FolderConfig({"architectures": ["LlamaForCausalLM"]})
    assert config.capabilities(TemplateFacts(), pools=False) == ("completion",)


@pytest.mark.parametrize("value", ["8192", -1, 0, True, 2**70, None, [1]])
def test_a_window_that_is_no_number_is_unknown(value):
    assert FolderConfig({"max_position_embeddings": value}).context_length is None


def test_experts_are_found_under_any_of_their_names():
    config = FolderConfig({"n_routed_experts": 64, "num_experts_per_tok": 6})
    assert (config.experts, config.experts_used) == (64, 6)

from __future__ import annotations

import pytest

from roost.config.settings import Knobs
from roost.engines.knobs import DEFAULT_CONTEXT_TOKENS
from roost.engines.llama_shape import SURFACES, problems_of, purpose_of, shape_of
from tests.unit.engines.specs import gguf


def test_an_unset_context_is_the_trained_one_but_never_more_than_the_default() -> None:
    assert shape_of(gguf(context_length=8192), Knobs()).context == 8192
    assert shape_of(gguf(context_length=131072), Knobs()).context == DEFAULT_CONTEXT_TOKENS
    assert shape_of(gguf(context_length=None), Knobs()).context == DEFAULT_CONTEXT_TOKENS
    assert shape_of(gguf(context_length=131072), Knobs(context=65536)).context == 65536


def test_a_model_that_can_chat_and_embed_is_a_chat_worker() -> None:
    assert purpose_of(gguf(capabilities=frozenset({"chat", "embedding"}))) == "chat"
    assert purpose_of(gguf(capabilities=frozenset({"embedding"}))) == "embedding"
    assert purpose_of(gguf(capabilities=frozenset({"rerank", "embedding"}))) == "rerank"


def test_a_chat_worker_embeds_too_with_mean_pooling() -> None:
    assert "embeddings" in SURFACES["chat"]
    assert shape_of(gguf(), Knobs()).pooling == "mean"


@pytest.mark.parametrize("capability", ["embedding", "rerank"])
def test_an_auxiliary_worker_takes_its_whole_context_in_one_batch(capability: str) -> None:
    shape = shape_of(gguf(capabilities=frozenset({capability}), context_length=4096), Knobs())
    assert shape.batch == shape.context == 4096
    assert shape.prefix_cache_mib == 0


@pytest.mark.parametrize(
    ("vocabulary", "batch"), [(32000, 1792), (49152, 1152), (128256, 512), (151936, 512), (262144, 512), (None, 512)]
)
def test_the_batch_of_a_chat_worker_shrinks_with_the_vocabulary(vocabulary: int | None, batch: int) -> None:
    assert shape_of(gguf(vocabulary_size=vocabulary), Knobs()).batch == batch


def test_a_batch_is_never_larger_than_the_context() -> None:
    assert shape_of(gguf(), Knobs(context=256)).batch == 256
    assert shape_of(gguf(), Knobs(context=256, prefill_batch=1024)).batch == 256


def test_an_embedding_models_own_pooling_wins() -> None:
    embedding = frozenset({"embedding"})
    own = gguf(architecture="bert", capabilities=embedding, metadata={"bert.pooling_type": 2})
    assert shape_of(own, Knobs()).pooling is None
    assert shape_of(gguf(capabilities=embedding), Knobs()).pooling == "mean"
    assert shape_of(gguf(capabilities=embedding, metadata={}), Knobs()).pooling is None
    assert shape_of(gguf(capabilities=frozenset({"rerank"})), Knobs()).pooling == "rank"


def test_no_prefix_cache_means_no_memory_for_it() -> None:
    shape = shape_of(gguf(), Knobs(prefix_cache=False))
    assert (shape.prefix_cache, shape.prefix_cache_mib) == (False, 0)
    assert shape_of(gguf(), Knobs(prefix_cache_mb=64)).prefix_cache_mib == 64


def test_the_default_knobs_have_no_problem() -> None:
    assert problems_of(gguf(), Knobs()) == []
    assert problems_of(None, Knobs()) == []


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"paged_cache": True}, "paged_cache"),
        ({"standby": True}, "standby"),
        ({"paged_cache": True, "prefix_sharing": True}, "prefix_sharing"),
        ({"gpu_memory_share": 0.5}, "gpu_layers instead"),
        ({"tool_parser": "hermes"}, "tool_parser"),
        ({"reasoning_parser": "qwen3"}, "deepseek-legacy"),
        ({"completion_batch": 8}, "max_sequences instead"),
        ({"chunked_prefill": False}, "chunked_prefill"),
        ({"context": 16384}, "8192 tokens"),
        ({"speculative_decoding": True}, "set draft_model"),
        ({"draft_model": "tiny"}, "speculative_decoding = true"),
        ({"prefix_sharing": True}, "needs paged_cache"),
    ],
)
def test_a_knob_that_cannot_be_honoured_is_one_sentence_with_engine_and_mend(knobs: dict, words: str) -> None:
    found = problems_of(gguf(), Knobs.model_validate(knobs))
    assert any(words in problem for problem in found)
    assert all(problem.startswith("llama.cpp: ") for problem in found)


def test_a_prefill_batch_is_refused_for_a_model_that_takes_its_context_at_once() -> None:
    found = problems_of(gguf(capabilities=frozenset({"embedding"})), Knobs(prefill_batch=512))
    assert len(found) == 1
    assert "prefill_batch" in found[0]

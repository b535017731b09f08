"""The longest token: never too small, or the context check would refuse what fits."""

import io

import pytest

from roost.catalog.gguf import read_gguf
from roost.catalog.tokens import (
    byte_level_length,
    longest_in_gguf,
    longest_in_tokenizer_json,
    sentencepiece_length,
)
from roost.testing.tiny_models import gguf_bytes


def in_gguf(tokens, types=None, model="gpt2", **more):
    raw = gguf_bytes(
        {
            "tokenizer.ggml.model": model,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types or [1] * len(tokens),
            **more,
        }
    )
    return longest_in_gguf(read_gguf(io.BytesIO(raw), len(raw)))


@pytest.mark.parametrize(
    ("token", "length"),
    [("abc", 3), ("Ġhello", 6), ("Ċ", 1), ("æĹ¥", 3), ("<|im_end|>", 10), ("<｜User｜>", 12)],
)
def test_a_byte_level_token_has_one_byte_a_character(token, length):
    assert byte_level_length(token) == length


@pytest.mark.parametrize(("token", "length"), [("▁the", 4), ("<0x0A>", 1), ("日", 3), ("▁▁▁", 3)])
def test_a_sentencepiece_token_has_spaces_for_its_bars(token, length):
    assert sentencepiece_length(token) == length


def test_the_longest_of_a_vocabulary_counts():
    assert in_gguf(["a", "Ġhello", "æĹ¥æľ¬"]) == 6
    assert in_gguf(["▁the", "▁▁▁▁▁▁", "<0x0A>"], model="llama") == 6


def test_an_added_token_counts_as_its_text():
    assert in_gguf(["a", "éé"], [1, 4]) == 4
    assert in_gguf(["a", "éé"], [1, 1]) == 2


@pytest.mark.parametrize("model", ["bert", "t5", "rwkv", "some-new-one"])
def test_a_tokenizer_that_may_swallow_text_proves_nothing(model):
    assert in_gguf(["aaa"], model=model) is None


def test_removed_white_space_proves_nothing():
    assert in_gguf(["aaa"], model="llama", **{"tokenizer.ggml.remove_extra_whitespaces": True}) is None


def tokenizer(vocabulary, **more):
    return {"model": {"type": "BPE", "vocab": vocabulary}, "pre_tokenizer": {"type": "ByteLevel"}, **more}


def test_a_tokenizer_json_counts_its_vocabulary_and_added_tokens():
    assert longest_in_tokenizer_json(tokenizer({"a": 0, "Ġhello": 1})) == 6
    added = [{"content": "<|a_long_one|>"}]
    assert longest_in_tokenizer_json(tokenizer({"a": 0}, added_tokens=added)) == 14


def test_composed_text_may_have_been_three_times_longer():
    assert longest_in_tokenizer_json(tokenizer({"abc": 0}, normalizer={"type": "NFC"})) == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}},
        {"model": {"type": "WordPiece", "vocab": {"a": 0}}},
        {"model": {"type": "BPE", "vocab": {}}},
        {"pre_tokenizer": None},
        {"model": [], "normalizer": 3},
    ],
)
def test_a_tokenizer_json_that_may_swallow_text_proves_nothing(changes):
    assert longest_in_tokenizer_json(tokenizer({"a": 0}) | changes) is None


def test_a_sentencepiece_tokenizer_json_needs_byte_fallback():
    plain = {"model": {"type": "BPE", "vocab": {"▁the": 0, "▁▁▁▁▁": 1}, "byte_fallback": True}}
    plain["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    assert longest_in_tokenizer_json(plain) == 5

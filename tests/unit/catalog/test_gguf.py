"""The GGUF header reader on whole, cut and lying files."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.catalog.gguf import LongArray, read_gguf, tensor_bytes
from roost.catalog.refusal import ModelRefused, Truncated
from roost.testing.tiny_models import gguf_bytes

WHOLE = gguf_bytes()


def read(raw):
    return read_gguf(io.BytesIO(raw), len(raw))


def test_metadata_and_tensors_come_back_as_written():
    header = read(WHOLE)
    assert header.text("general.architecture") == "llama"
    assert header.integer("llama.block_count") == 2
    assert [(tensor.name, tensor.shape, tensor.size_bytes) for tensor in header.tensors] == [
        ("token_embd.weight", (8, 4), 128),
        ("blk.0.ffn_up.weight", (8, 16), 512),
    ]
    assert tensor_bytes(header) == 640
    assert header.data_start + 640 == len(WHOLE)


def test_long_arrays_stay_in_the_file():
    header = read(gguf_bytes({"tokenizer.ggml.token_type": [1] * 5000}))
    assert header.metadata["tokenizer.ggml.token_type"].count == 5000
    assert isinstance(header.strings("tokenizer.ggml.tokens"), LongArray)


def test_the_header_digest_ignores_the_weights():
    assert read(WHOLE).sha256 == read(gguf_bytes(seed=7)).sha256
    assert read(WHOLE).sha256 != read(gguf_bytes({"general.name": "Other"})).sha256


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"PK\x03\x04" + bytes(100), "does not start with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "metadata pairs"),
        (gguf_bytes({"general.alignment": 24}), "power of two"),
        (gguf_bytes(tensors=[("a", (8, 8), 0), ("a", (8, 8), 0)]), "name twice"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_by_name(raw, why):
    with pytest.raises(ModelRefused, match=why):
        read(raw)


def pair(key, body):
    return struct.pack("<Q", len(key)) + key + body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (struct.pack("<IIQ", 9, 9, 1) + bytes(64), "array of arrays"),
        (struct.pack("<I", 77) + bytes(64), "unknown type"),
        (struct.pack("<IQ", 8, 2**63) + bytes(64), "string of"),
        (struct.pack("<IIQ", 9, 8, 2**63) + bytes(64), "too short"),
        (struct.pack("<IIQ", 9, 4, 2**62) + bytes(64), "needs"),
    ],
)
def test_a_value_that_claims_more_than_there_is_is_refused(body, why):
    with pytest.raises(ModelRefused, match=why):
        read(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair(b"k", body))


def test_a_token_longer_than_any_token_is_refused():
    with pytest.raises(ModelRefused, match=r"string of 2,097,152 bytes"):
        read(gguf_bytes({"tokenizer.ggml.tokens": ["x" * 2**21]}))


def test_a_key_given_twice_is_refused():
    value = struct.pack("<II", 4, 1)
    with pytest.raises(ModelRefused, match="twice"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair(b"k", value) * 2)


def tensor(dimensions, type_id=0, offset=0):
    info = pair(b"t", struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, type_id, offset))
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info + bytes(256)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (tensor((2**62, 8)), "more elements"),
        (tensor((1,) * 5), "dimensions"),
        (tensor((31,), type_id=2), "do not divide"),
        (tensor((8,), offset=2**50), "truncated"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(raw, why):
    with pytest.raises(ModelRefused, match=why):
        read(raw)


def test_an_unknown_tensor_type_costs_the_exact_size_only():
    header = read(tensor((8,), type_id=4000))
    assert header.tensors[0].size_bytes is None
    assert tensor_bytes(header) == header.size_bytes - header.data_start


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_every_truncation_is_noticed(length):
    with pytest.raises(Truncated):
        read(WHOLE[:length])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_are_read_or_refused(changes):
    raw = bytearray(WHOLE)
    for position, value in changes:
        raw[position] = value
    try:
        header = read(bytes(raw))
    except ModelRefused:
        return
    assert tensor_bytes(header) <= len(raw)

"""The safetensors header reader on whole, cut and lying files."""

import io
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.catalog.refusal import ModelRefused, Truncated
from roost.catalog.safetensors import parse_object, read_safetensors
from roost.testing.tiny_models import safetensors_bytes

WHOLE = safetensors_bytes({"a": ("F32", (2, 3), 24), "b": ("BF16", (4,), 8)})


def read(raw):
    return read_safetensors(io.BytesIO(raw), len(raw))


def with_header(content, data=bytes(64)):
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_tensors_come_back_as_written():
    header = read(WHOLE)
    assert [(item.name, item.dtype, item.shape, item.size_bytes) for item in header.tensors] == [
        ("a", "F32", (2, 3), 24),
        ("b", "BF16", (4,), 8),
    ]
    assert header.metadata == {"format": "mlx"}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"1234", "4 bytes"),
        (struct.pack("<Q", 2**60), "limit"),
        (struct.pack("<Q", 1000) + b"{}", "truncated"),
        (with_header(b"[]"), "not a JSON object"),
        (with_header(b'{"a": 1, "a": 2}'), "given twice"),
        (with_header(b"[" * 100_000), "cannot read"),
        (with_header(b'{"a": ' + b"9" * 10_000 + b"}"), "cannot read"),
        (with_header({"a": 3}), "not described"),
        (with_header({"a": entry(shape=(-1,))}), "malformed"),
        (with_header({"a": entry(shape=(True,))}), "malformed"),
        (with_header({"a": entry(offsets=(8, 0))}), "malformed"),
        (with_header({"a": entry(shape=(2,) * 17)}), "malformed"),
        (with_header({"a": entry(offsets=(0, 12))}), "do not hold"),
        (with_header({"a": entry(shape=(2**40,), offsets=(0, 2**42))}), "truncated"),
        (with_header({str(index): entry(shape=(16,), offsets=(0, 64)) for index in range(2)}), "overlap"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_by_name(raw, why):
    with pytest.raises(ModelRefused, match=why):
        read(raw)


def test_an_unknown_dtype_is_taken_by_its_bytes():
    assert read(with_header({"a": entry(dtype="F3")})).tensors[0].size_bytes == 8


def test_an_object_is_asked_for():
    assert parse_object(b'{"a": 1}', "config.json") == {"a": 1}
    with pytest.raises(ModelRefused, match=r"config\.json"):
        parse_object(b"\xff\xfe", "config.json")


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
    assert sum(item.size_bytes for item in header.tensors) <= len(raw)

"""Identity that sees content: the same header over other weights is another model."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from roost.catalog.samples import SAMPLE_BYTES, SAMPLES, identity_sha256


def digest(content: bytes, header: str = "h") -> str:
    return identity_sha256(io.BytesIO(content), len(content), header)


def test_two_fine_tunes_with_one_header_differ() -> None:
    size_bytes = 4 * SAMPLES * SAMPLE_BYTES
    assert digest(b"\1" * size_bytes) != digest(b"\2" * size_bytes)


def test_the_same_content_is_the_same_model() -> None:
    assert digest(b"weights" * 1000) == digest(b"weights" * 1000)


def test_another_header_is_another_model() -> None:
    assert digest(b"weights", "h") != digest(b"weights", "i")


@given(st.binary(min_size=1, max_size=2 * SAMPLE_BYTES), st.integers(0, 2 * SAMPLE_BYTES - 1))
def test_in_a_small_file_every_byte_counts(content: bytes, place: int) -> None:
    index = place % len(content)
    changed = content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]
    assert digest(content) != digest(changed)


def test_the_last_bytes_count() -> None:
    size_bytes = 10 * SAMPLES * SAMPLE_BYTES
    assert digest(bytes(size_bytes)) != digest(bytes(size_bytes - 1) + b"\1")

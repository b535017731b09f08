"""The safetensors header: a length, then JSON; bounds-checked. Reads nothing of the weights.

Layout (safetensors format): u64 little endian length N, N bytes of JSON
`{"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {...}}`, data.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from roost.catalog.reading import read_exactly
from roost.catalog.refusal import ModelRefused, Truncated

#: The format itself allows 100 MB; real headers stay under 10 MB, and JSON takes ten times its size in memory.
HEADER_LIMIT_BYTES = 32 * 2**20
TENSORS_LIMIT = 500_000
DIMENSIONS_LIMIT = 16

#: dtype -> bits of one element.
DTYPES = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True)
class StoredTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    tensors: tuple[StoredTensor, ...]
    #: `__metadata__`, strings only.
    metadata: dict[str, str]
    #: sha256 of the length and the JSON.
    sha256: str


def read_safetensors(file: BinaryIO, size_bytes: int) -> SafetensorsHeader:
    """Parse the header of a safetensors file of `size_bytes`. Raises ModelRefused, or Truncated."""
    raw = _header_bytes(file, size_bytes)
    content = parse_object(raw[8:], "safetensors header")
    metadata = content.pop("__metadata__", {})
    if len(content) > TENSORS_LIMIT:
        raise ModelRefused(f"the header holds {len(content):,} tensors; {TENSORS_LIMIT:,} is the limit")
    data_bytes = size_bytes - len(raw)
    tensors = tuple(_tensor(name, entry, data_bytes) for name, entry in content.items())
    if sum(tensor.size_bytes for tensor in tensors) > data_bytes:
        raise ModelRefused("the header's tensors overlap: they claim more bytes than the file has")
    return SafetensorsHeader(tensors, _strings(metadata), hashlib.sha256(raw).hexdigest())


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """JSON text that must be one object without a key given twice: two readers would see two models."""
    try:
        value = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ModelRefused(f"cannot read the {what}: {error}") from error
    if not isinstance(value, dict):
        raise ModelRefused(f"cannot read the {what}: it is not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _header_bytes(file: BinaryIO, size_bytes: int) -> bytes:
    if size_bytes < 8:
        raise Truncated(f"not a safetensors file: {size_bytes} bytes")
    prefix = read_exactly(file, 8)
    (length,) = struct.unpack("<Q", prefix)
    if length > HEADER_LIMIT_BYTES:
        raise ModelRefused(f"not a safetensors file: a header of {length:,} bytes, {HEADER_LIMIT_BYTES:,} is the limit")
    if 8 + length > size_bytes:
        raise Truncated(f"the file is truncated: its header needs {8 + length:,} bytes, it has {size_bytes:,}")
    return prefix + read_exactly(file, length)


def _tensor(name: str, entry: Any, data_bytes: int) -> StoredTensor:
    if not isinstance(entry, dict):
        raise ModelRefused(f"tensor {name[:80]!r} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    dimensions = _naturals(shape)
    span = _naturals(offsets)
    if dimensions is None or len(dimensions) > DIMENSIONS_LIMIT or span is None or len(span) != 2 or span[0] > span[1]:
        raise ModelRefused(f"tensor {name[:80]!r} has a malformed shape or offsets")
    if span[1] > data_bytes:
        raise Truncated(f"the file is truncated: tensor {name[:80]!r} ends at {span[1]:,} of {data_bytes:,} bytes")
    bits = DTYPES.get(dtype) if isinstance(dtype, str) else None
    size_bytes = span[1] - span[0]
    if bits is not None and -(-prod(dimensions) * bits // 8) != size_bytes:
        raise ModelRefused(f"tensor {name[:80]!r}: {size_bytes:,} bytes do not hold its shape in {dtype}")
    return StoredTensor(name, str(dtype)[:32], dimensions, size_bytes)


def _naturals(value: Any) -> tuple[int, ...] | None:
    """A list of non-negative integers as a tuple, else None; each under 2**63, so that products stay small."""
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 2**63 for item in value):
        return None
    return tuple(value)


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key[:256]: text[:4096] for key, text in value.items() if isinstance(text, str)}

"""The GGUF header: metadata and tensor table, bounds-checked. Reads nothing of the weights.

Layout (ggml/docs/gguf.md, versions 2 and 3, little endian): magic, version, tensor count, pair count, pairs, tensor
infos, padding to `general.alignment`, data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from roost.catalog.gguf_types import TENSOR_TYPES
from roost.catalog.reading import HeaderReader
from roost.catalog.refusal import ModelRefused, Truncated

MAGIC = b"GGUF"
PAIRS_LIMIT = 16_384
TENSORS_LIMIT = 65_536
DIMENSIONS_LIMIT = 4  # GGML_MAX_DIMS
#: Longer number arrays are kept as a reference only; per-layer arrays are far shorter.
KEPT_NUMBERS = 4_096

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: _U32,
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: _U64,
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}


@dataclass(frozen=True)
class LongArray:
    """An array that is not copied out of the header: where its first element starts, and what it holds."""

    element_type: int
    count: int
    start: int


Value = str | int | float | bool | list[int | float | bool] | LongArray


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    type_name: str
    #: None: this build does not know the type, so its size is unknown.
    size_bytes: int | None
    offset: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    #: Where the tensors' data starts.
    data_start: int
    size_bytes: int
    #: sha256 of everything before the padding.
    sha256: str
    reader: HeaderReader

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def integers(self, key: str) -> tuple[int, ...]:
        """A scalar or a per-layer array as a tuple; () when absent."""
        value = self.metadata.get(key)
        values = value if isinstance(value, list) else [value]
        return tuple(int(item) for item in values if isinstance(item, int))

    def strings(self, key: str) -> LongArray | None:
        value = self.metadata.get(key)
        return value if isinstance(value, LongArray) and value.element_type == _STRING else None


def read_gguf(file: BinaryIO, size_bytes: int) -> GgufHeader:
    """Parse the header of a GGUF file of `size_bytes`. Raises ModelRefused, or Truncated when bytes are missing."""
    reader = HeaderReader(file, size_bytes)
    version = _read_version(reader)
    tensor_count = _count(reader, "tensors", TENSORS_LIMIT)
    pair_count = _count(reader, "metadata pairs", PAIRS_LIMIT)
    metadata = _read_pairs(reader, pair_count)
    tensors = tuple(_read_tensor(reader) for _ in range(tensor_count))
    data_start = _aligned(reader.position, _alignment(metadata))
    _check_data(tensors, data_start, size_bytes)
    return GgufHeader(version, metadata, tensors, data_start, size_bytes, reader.digest(), reader)


def _read_version(reader: HeaderReader) -> int:
    if reader.take(4) != MAGIC:
        raise ModelRefused("not a GGUF file: it does not start with GGUF")
    version = reader.integer(_U32)
    if version in (2 << 24, 3 << 24):
        raise ModelRefused("a big-endian GGUF cannot be served on this machine; convert it to little endian")
    if version not in (2, 3):
        raise ModelRefused(f"GGUF version {version} is not supported; versions 2 and 3 are")
    return version


def _count(reader: HeaderReader, what: str, limit: int) -> int:
    count = reader.integer(_U64)
    if count > limit:
        raise ModelRefused(f"the header promises {count:,} {what}; {limit:,} is the limit")
    return count


def _read_pairs(reader: HeaderReader, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = reader.text(limit_bytes=1024)
        if key in metadata:
            raise ModelRefused(f"the header holds the key {key!r} twice")
        metadata[key] = _read_value(reader, reader.integer(_U32))
    return metadata


def _read_value(reader: HeaderReader, type_id: int) -> Value:
    if type_id == _STRING:
        return reader.text()
    if type_id == _ARRAY:
        return _read_array(reader)
    return reader.number(_scalar(type_id))


def _scalar(type_id: int) -> struct.Struct:
    if type_id not in _SCALARS:
        raise ModelRefused(f"the header holds a value of the unknown type {type_id}")
    return _SCALARS[type_id]


def _read_array(reader: HeaderReader) -> Value:
    element_type, count = reader.integer(_U32), reader.integer(_U64)
    if element_type == _ARRAY:
        raise ModelRefused("the header holds an array of arrays, which no GGUF reader supports")
    if element_type == _STRING:
        return LongArray(element_type, count, reader.skip_strings(count))
    layout = _scalar(element_type)
    start = reader.skip(count * layout.size)
    if count > KEPT_NUMBERS:
        return LongArray(element_type, count, start)
    raw = reader.slice(start, reader.position)
    return [item[0] for item in layout.iter_unpack(raw)]


def _read_tensor(reader: HeaderReader) -> Tensor:
    name = reader.text(limit_bytes=1024)
    dimensions = reader.integer(_U32)
    if dimensions > DIMENSIONS_LIMIT:
        raise ModelRefused(f"tensor {name!r} has {dimensions} dimensions; {DIMENSIONS_LIMIT} is the limit")
    shape = tuple(reader.integer(_U64) for _ in range(dimensions))
    type_id, offset = reader.integer(_U32), reader.integer(_U64)
    return _sized_tensor(name, shape, type_id, offset)


def _sized_tensor(name: str, shape: tuple[int, ...], type_id: int, offset: int) -> Tensor:
    if prod(shape) >= 2**63:
        raise ModelRefused(f"tensor {name!r} claims more elements than any machine holds")
    if type_id not in TENSOR_TYPES:
        return Tensor(name, shape, f"type-{type_id}", None, offset)
    type_name, block_elements, block_bytes = TENSOR_TYPES[type_id]
    if shape and shape[0] % block_elements:
        raise ModelRefused(f"tensor {name!r}: rows of {shape[0]} elements do not divide into {type_name} blocks")
    return Tensor(name, shape, type_name, prod(shape) // block_elements * block_bytes, offset)


def _alignment(metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
        raise ModelRefused(f"general.alignment is {alignment!r}; it must be a power of two")
    return alignment


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _check_data(tensors: tuple[Tensor, ...], data_start: int, size_bytes: int) -> None:
    end = max((tensor.offset + (tensor.size_bytes or 0) for tensor in tensors), default=0)
    if tensors and data_start + end > size_bytes:
        raise Truncated(f"the file is truncated: its tensors need {data_start + end:,} bytes, it has {size_bytes:,}")
    if sum(tensor.size_bytes or 0 for tensor in tensors) > size_bytes:
        raise ModelRefused("the header's tensors overlap: they claim more bytes than the file has")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ModelRefused("the tensor table holds a name twice")


def tensor_bytes(header: GgufHeader) -> int:
    """Bytes of the weights: the sum over the tensor table, or the data section when a type is unknown."""
    sizes = [tensor.size_bytes for tensor in header.tensors]
    if any(size is None for size in sizes):
        return header.size_bytes - header.data_start
    return sum(size for size in sizes if size is not None)

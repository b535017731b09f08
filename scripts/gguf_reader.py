"""Read a trusted GGUF file's metadata and weights with numpy alone, for `make_mlx_model.py`.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; blocks of the quantized types: ggml-common.h there.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: GGUF value type -> struct format, for those of fixed size.
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
DEFAULT_ALIGNMENT = 32
#: Weights in one block of a quantized type.
BLOCK = 32

Q4_1 = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("nibbles", "u1", 16)])
Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


def from_q4_1(blocks: np.ndarray) -> np.ndarray:
    """scale * nibble + minimum; the low nibbles are the first half of a block."""
    nibbles = np.concatenate([blocks["nibbles"] & 0x0F, blocks["nibbles"] >> 4], axis=1)
    return blocks["scale"].astype(np.float32)[:, None] * nibbles + blocks["minimum"].astype(np.float32)[:, None]


def from_q8_0(blocks: np.ndarray) -> np.ndarray:
    return blocks["scale"].astype(np.float32)[:, None] * blocks["values"]


@dataclass(frozen=True)
class TensorType:
    name: str
    layout: np.dtype
    weights_per_item: int
    to_float: Callable[[np.ndarray], np.ndarray]


TYPES = {
    0: TensorType("F32", np.dtype("<f4"), 1, lambda items: items),
    1: TensorType("F16", np.dtype("<f2"), 1, lambda items: items),
    3: TensorType("Q4_1", Q4_1, BLOCK, from_q4_1),
    8: TensorType("Q8_0", Q8_0, BLOCK, from_q8_0),
}


@dataclass(frozen=True)
class Tensor:
    name: str
    #: As numpy counts: the fastest dimension last.
    shape: tuple[int, ...]
    kind: int
    offset_bytes: int


class Gguf:
    """One file. Raises SystemExit where it is no GGUF, or holds a type that is not read here."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 0
        if self._take("<4s") != b"GGUF" or self._take("<I") < 2:
            raise SystemExit(f"cannot read {path}: it is no GGUF of version 2 or later")
        tensor_count, pair_count = self._take("<Q"), self._take("<Q")
        self.metadata = {self._string(): self._value(self._take("<I")) for _ in range(pair_count)}
        self._tensors = [self._tensor() for _ in range(tensor_count)]
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        self._data_at = -(-self._at // alignment) * alignment

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each tensor's name and its weights as float32."""
        for tensor in self._tensors:
            yield tensor.name, self._weights(tensor)

    def _weights(self, tensor: Tensor) -> np.ndarray:
        kind = TYPES.get(tensor.kind)
        if kind is None:
            known = ", ".join(kind.name for kind in TYPES.values())
            raise SystemExit(f"cannot read {tensor.name}: its type {tensor.kind} is none of {known}")
        items = int(np.prod(tensor.shape)) // kind.weights_per_item
        raw = np.frombuffer(self._bytes, kind.layout, items, self._data_at + tensor.offset_bytes)
        return np.ascontiguousarray(kind.to_float(raw).reshape(tensor.shape), dtype=np.float32)

    def _tensor(self) -> Tensor:
        name = self._string()
        shape = tuple(self._take("<Q") for _ in range(self._take("<I")))
        return Tensor(name, shape[::-1], self._take("<I"), self._take("<Q"))

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            item = self._take("<I")
            return [self._value(item) for _ in range(self._take("<Q"))]
        return self._take(SCALARS[kind])

    def _string(self) -> str:
        return str(self._take(f"<{self._take('<Q')}s"), "utf-8")

    def _take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._bytes, self._at)
        self._at += struct.calcsize(form)
        return value

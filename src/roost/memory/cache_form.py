"""The form of a model's cache: what each token adds, and what each sequence holds whatever its length.

Formulas of the engines' own allocation: llama.cpp `llama_kv_cache` and `llama_memory_recurrent`, mlx-lm `KVCache`,
`RotatingKVCache` and `ArraysCache`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

#: Bytes of one element; quantized types with their scales (ggml block structs).
ELEMENT_BYTES = {
    "f32": Fraction(4),
    "f16": Fraction(2),
    "bf16": Fraction(2),
    "fp8": Fraction(1),
    "q8_0": Fraction(34, 32),
    "q5_1": Fraction(24, 32),
    "q5_0": Fraction(22, 32),
    "q4_1": Fraction(20, 32),
    "q4_0": Fraction(18, 32),
    "iq4_nl": Fraction(18, 32),
}
#: MLX's `QuantizedKVCache`: bits of the knob's types, and elements that share a scale and a bias.
AFFINE_BITS = {"q8_0": 8, "q4_0": 4}
AFFINE_GROUP = 64


def affine_bytes(bits: int, group: int, dtype: str) -> Fraction:
    """Bytes of one element of MLX's affine quantization: the bits, a scale and a bias a group."""
    return Fraction(bits, 8) + 2 * ELEMENT_BYTES[dtype] / group


@dataclass(frozen=True)
class LayerGroup:
    """Attention layers whose caches are alike."""

    layers: int
    #: Elements of one cell of one layer.
    key_elements: int
    value_elements: int
    #: Tokens that are looked back at; None: all of them.
    window: int | None = None

    @property
    def elements(self) -> int:
        """Of one cell over all its layers."""
        return self.layers * (self.key_elements + self.value_elements)


@dataclass(frozen=True)
class RecurrentState:
    """What recurrent layers hold for one sequence, however long it is."""

    layers: int
    #: Elements of one layer.
    convolution_elements: int
    state_elements: int
    #: mlx-lm keeps the state of these layers in float32, of Jamba's in the model's type.
    is_float32: bool = True


@dataclass(frozen=True)
class CacheForm:
    """Everything that decides how large a model's cache is."""

    #: As people say it: `grouped attention`, `latent attention`, …
    family: str
    groups: tuple[LayerGroup, ...] = ()
    state: RecurrentState | None = None

    @property
    def has_windows(self) -> bool:
        return any(group.window is not None for group in self.groups)

    @property
    def can_be_cut(self) -> bool:
        """Going back to an earlier token needs no saved state."""
        return self.state is None and not self.has_windows

    def token_bytes(self, element: Fraction) -> int:
        """What one more token adds once all windows are full."""
        return whole(sum(group.elements for group in self.groups if group.window is None) * element)

    def kv_bytes(self, element: Fraction, cells: Callable[[int | None], int]) -> int:
        """All attention layers; `cells` says how many cells a layer with that window has."""
        return whole(sum(group.elements * cells(group.window) * element for group in self.groups))

    def state_bytes(self, convolution: Fraction, state: Fraction) -> int:
        """Of one sequence, with these bytes an element."""
        if self.state is None:
            return 0
        held = self.state
        return whole(held.layers * (held.convolution_elements * convolution + held.state_elements * state))


def grouped(layers: Iterable[tuple[int, int, int | None]]) -> tuple[LayerGroup, ...]:
    """Groups from one (key elements, value elements, window) a layer; layers without a cache vanish."""
    counted = Counter(layer for layer in layers if layer[0] or layer[1])
    return tuple(LayerGroup(count, key, value, window) for (key, value, window), count in counted.items())


def whole(size: Fraction | int) -> int:
    """Bytes, rounded up."""
    return -int(-size // 1)


def pad(amount: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-amount // step) * step

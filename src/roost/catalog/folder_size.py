"""Parameters and quantization of safetensors weights: packed tensors hold several parameters an element."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from roost.catalog.safetensors import DTYPES, StoredTensor

#: Tensors that describe how others are packed; they count as bytes, not as parameters.
_BOOKKEEPING = re.compile(
    r"(\.(scales|biases|qzeros|g_idx|weight_scale|weight_scale_inv|weight_scale_2|input_scale|output_scale|weight_shape"
    r"|weight_zero_point|weight_global_scale|k_scale|v_scale|absmax|quant_map|nested_absmax|nested_quant_map|SCB)"
    r"|_scales|quant_state\.[^.]+)$"
)
_EXPERT = re.compile(r"\.experts\.|\.switch_mlp\.|\.switch_glu\.|\.block_sparse_moe\.experts")
_NAMES = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8"}


@dataclass(frozen=True)
class WeightsSize:
    parameters: int
    in_experts: int
    size_bytes: int
    quantization: str | None


def measure(tensors: Iterable[StoredTensor], quantization: dict[str, Any]) -> WeightsSize:
    """Count the parameters of all weight files together. `quantization`: the block of config.json, or {}."""
    everything = list(tensors)
    names = {tensor.name for tensor in everything}
    counted = [(tensor, _parameters(tensor, names, quantization)) for tensor in everything]
    return WeightsSize(
        parameters=sum(count for _, count in counted),
        in_experts=sum(count for tensor, count in counted if _EXPERT.search(tensor.name)),
        size_bytes=sum(tensor.size_bytes for tensor in everything),
        quantization=_declared_name(quantization) or _dominant_name(everything),
    )


def _parameters(tensor: StoredTensor, names: set[str], quantization: dict[str, Any]) -> int:
    base, _, last = tensor.name.rpartition(".")
    packed_mlx = last == "weight" and tensor.dtype == "U32" and f"{base}.scales" in names
    if _BOOKKEEPING.search(tensor.name) and not (last == "biases" and f"{base}.scales" not in names):
        return 0
    if packed_mlx or last in ("qweight", "weight_packed"):
        return tensor.elements * DTYPES.get(tensor.dtype, 32) // _bits(base, quantization)
    if tensor.name.endswith("_blocks") and tensor.dtype == "U8":
        return tensor.elements * 2  # MXFP4: two 4-bit values a byte
    if tensor.dtype == "U8" and quantization.get("quant_method") == "bitsandbytes":
        return tensor.elements * 2
    return tensor.elements


def _bits(base: str, quantization: dict[str, Any]) -> int:
    """Bits of one packed weight: the layer's own (mlx mixes them), else the model's, else 4."""
    own = quantization.get(base)
    for block in (own if isinstance(own, dict) else {}, quantization, _group(quantization)):
        for key in ("bits", "num_bits", "w_bit", "weight_bits"):
            bits = block.get(key)
            if type(bits) is int and 1 <= bits <= 16:
                return bits
    return 4


def _group(quantization: dict[str, Any]) -> dict[str, Any]:
    """compressed-tensors keeps its numbers in `config_groups.group_0.weights`."""
    groups = quantization.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return weights if isinstance(weights, dict) else {}


def _declared_name(quantization: dict[str, Any]) -> str | None:
    if not quantization:
        return None
    mode, method = quantization.get("mode"), quantization.get("quant_method")
    if isinstance(mode, str) and mode != "affine":
        return mode[:32]
    if isinstance(method, str) and method in ("fp8", "mxfp4"):
        return method
    bits = f"{_bits('', quantization)}bit"
    return f"{method[:32]}-{bits}" if isinstance(method, str) and method not in ("affine", "mlx") else bits


def _dominant_name(tensors: list[StoredTensor]) -> str | None:
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.size_bytes
    return next((_NAMES.get(dtype, dtype.lower()) for dtype, _ in sizes.most_common(1)), None)

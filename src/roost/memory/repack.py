"""Which tensor types llama.cpp's CPU backend keeps a second time, in an order of its own (ggml-cpu/repack.cpp)."""

from __future__ import annotations

_AVX2 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
_AVX512 = frozenset({"Q2_K"})
_NEON = frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"})


def repacked_types(machine: str, features: frozenset[str]) -> frozenset[str]:
    """By the machine's name (`x86_64`, `arm64`, `aarch64`) and its CPU's features as the kernel names them.

    A CPU that nobody knows is taken to repack everything: too much rather than too little.
    """
    if machine in ("x86_64", "amd64"):
        return (_AVX2 if "avx2" in features else frozenset()) | (_AVX512 if "avx512f" in features else frozenset())
    if machine in ("arm64", "aarch64"):
        # macOS names no features; every Apple chip of this kind has the dot product.
        return _NEON if not features or "asimddp" in features else frozenset()
    return _AVX2 | _AVX512 | _NEON

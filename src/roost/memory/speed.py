"""How fast a model can answer at best: each token reads the weights that work on it and the cache once."""

from __future__ import annotations

from dataclasses import dataclass

from roost.catalog.spec import ModelSpec


@dataclass(frozen=True)
class Rate:
    """An upper bound of decoding one sequence."""

    tokens_per_s: float
    bytes_per_token: int
    #: How it came about, for people.
    basis: str


def active_bytes(spec: ModelSpec) -> int | None:
    """Weights that one token reads: of experts only those that work on it, of the embeddings one row. None: the
    header names experts but not how many of them work."""
    weights = spec.weights
    unread = 0 if weights.tied else min(weights.embedding_bytes, spec.weights_bytes)
    unread += min(weights.tower_bytes + weights.unloaded_bytes, spec.weights_bytes)
    if weights.experts and weights.expert_bytes:
        if not weights.experts_used or weights.experts_used > weights.experts:
            return None
        unread += weights.expert_bytes * (weights.experts - weights.experts_used) // weights.experts
    return max(spec.weights_bytes - unread, 0)


def decode_rate(spec: ModelSpec, kv_bytes: int, bandwidth: float | None, source: str) -> Rate | None:
    """`kv_bytes`: the cache that one token reads at the context in question; `bandwidth`: bytes a second, `source`
    says whose word that is. None: something is not known."""
    active = active_bytes(spec)
    if not active or not bandwidth:
        return None
    read = active + kv_bytes
    of_total = f" of {_gb(spec.weights_bytes)}" if active < spec.weights_bytes else ""
    basis = f"{_gb(active)}{of_total} weights and {_gb(kv_bytes)} cache a token, at {_gb(bandwidth)}/s {source}"
    return Rate(bandwidth / read, read, basis)


def _gb(size: float) -> str:
    """Decimal, as bandwidths are told."""
    return f"{size / 1e9:.1f} GB"

"""Numbers of the benchmarks: percentiles, and ratios with their spread over blocks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over blocks; one number of one block says nothing on a shared machine."""

    median: float
    lower: float
    upper: float
    blocks: int

    def __str__(self) -> str:
        return f"{self.median:.3g} (IQR {self.lower:.3g} to {self.upper:.3g}, {self.blocks} blocks)"


def spread(values: Sequence[float]) -> Spread:
    """Of at least two blocks."""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), lower, upper, len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def verdict(name: str, value: Spread, limit: float, at_most: bool = True) -> str:
    """One line for people: what was measured, what was promised, and whether it holds."""
    holds = value.median <= limit if at_most else value.median >= limit
    return f"{'holds' if holds else 'FAILS'}  {name}: {value}; promised {'<=' if at_most else '>='} {limit:g}"

"""The same start several times, by the rule of `memory.learned`: how near its peak comes to what was learned of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.memory_report import Result
from roost.memory.learned import Learned, Run, after
from roost.memory.needs import CLEAN_RUNS


def learned_error(first: Result, again: Callable[[], Result]) -> Result:
    """Enough full runs to learn from, then one that is held against them."""
    known, runs = Learned(), [first, *(again() for _ in range(CLEAN_RUNS - 1))]
    for run in runs:
        known = after(known, Run(run.peak_bytes, fill=1.0), _floor_bytes(run))
    last = again()
    assert known.peak is not None and known.peak.clean_runs == CLEAN_RUNS
    return replace(first, learned_bytes=known.peak.host_bytes, again_bytes=last.peak_bytes)


def _floor_bytes(result: Result) -> int:
    """Weights, the whole KV cache and the process: no peak counts that is lower."""
    kept = ("weights", "KV cache", "process")
    return sum(term["size_bytes"] for term in result.told["terms"] if term["name"] in kept)

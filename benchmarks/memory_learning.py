"""The same start several times, by the rule of `memory.learned`: how near its peak comes to what was learned of it."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.memory_report import Result
from roost.memory.learned import Learned, Run, after
from roost.memory.needs import CLEAN_RUNS


def with_learned(*runs: Result) -> Result:
    """The first of these runs, with what all but the last teach and the peak of the last."""
    known = Learned()
    for run in runs[:-1]:
        known = after(known, Run(run.peak_bytes, fill=1.0), _floor_bytes(run))
    assert known.peak is not None and known.peak.clean_runs == CLEAN_RUNS
    return replace(runs[0], learned_bytes=known.peak.host_bytes, again_bytes=runs[-1].peak_bytes)


def _floor_bytes(result: Result) -> int:
    """Weights, the whole KV cache and the process: no peak counts that is lower."""
    kept = ("weights", "KV cache", "process")
    return sum(term["size_bytes"] for term in result.told["terms"] if term["name"] in kept)

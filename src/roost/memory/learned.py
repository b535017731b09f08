"""Peaks that were measured, and when to believe them: a higher one at once, a lower one only after several full runs.

A peak belongs to exactly one way of starting: these weights, this engine and version, these sizes, this kind of host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from roost.memory.needs import CLEAN_RUNS, Peak
from roost.memory.types import LoadShape

#: A run that filled so much of its KV cache can speak against a higher peak.
FULL = 0.9


@dataclass(frozen=True)
class Run:
    """One worker's life, as the kernel kept its peaks."""

    host_bytes: int
    gpu_bytes: int = 0
    #: Most of its KV cache that was in use, from 0 to 1.
    fill: float = 0.0
    #: It ended in peace: not killed for its memory, not crashed.
    clean: bool = True
    #: It was killed when it reached this: it needs at least so much.
    killed_at_bytes: int | None = None


@dataclass(frozen=True)
class Learned:
    """What is known of one way of starting."""

    peak: Peak | None = None
    #: The last full runs, newest last: host and GPU bytes.
    full_runs: tuple[tuple[int, int], ...] = ()
    #: What a kill proved.
    at_least_bytes: int = 0


def key_of(fingerprint: str, engine_version: str, shape: LoadShape, host_class: str) -> str:
    """Names one way of starting: everything that decides its size."""
    sizes = {name: value for name, value in vars(shape).items() if name != "draft"}
    draft = shape.draft.fingerprint if shape.draft else None
    named: Mapping[str, Any] = {
        "weights": fingerprint,
        "version": engine_version,
        "sizes": sizes,
        "draft": draft,
        "host": host_class,
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()


def after(learned: Learned, run: Run, host_floor_bytes: int, gpu_floor_bytes: int = 0) -> Learned:
    """What is known after one more run. The floors: weights, the whole KV cache and the process, below which no peak
    may fall, since a run that never filled its cache says nothing about a full one."""
    if run.killed_at_bytes is not None:
        at_least = max(learned.at_least_bytes, run.killed_at_bytes)
        peak = learned.peak and replace(learned.peak, host_bytes=max(learned.peak.host_bytes, at_least))
        # The peak before was wrong: it counts again once clean runs have confirmed the new one.
        return replace(learned, peak=peak and replace(peak, clean_runs=0), at_least_bytes=at_least, full_runs=())
    if not run.clean:
        return _raised(learned, run)
    counted = _raised(learned, run)
    assert counted.peak is not None
    counted = replace(counted, peak=replace(counted.peak, clean_runs=counted.peak.clean_runs + 1))
    if run.fill < FULL:
        return counted
    full = (*learned.full_runs, (run.host_bytes, run.gpu_bytes))[-CLEAN_RUNS:]
    return _lowered(replace(counted, full_runs=full), host_floor_bytes, gpu_floor_bytes)


def _raised(learned: Learned, run: Run) -> Learned:
    """The higher of the two, each side by itself; the fill is that of the higher host peak."""
    before = learned.peak
    if before is None:
        return replace(learned, peak=Peak(max(run.host_bytes, learned.at_least_bytes), run.gpu_bytes, 0, run.fill))
    if run.host_bytes <= before.host_bytes and run.gpu_bytes <= before.gpu_bytes:
        return learned
    host, gpu = max(before.host_bytes, run.host_bytes), max(before.gpu_bytes, run.gpu_bytes)
    return replace(learned, peak=replace(before, host_bytes=host, gpu_bytes=gpu, fill=min(before.fill, run.fill)))


def _lowered(learned: Learned, host_floor: int, gpu_floor: int) -> Learned:
    """After enough full runs in a row: the highest of these, never below the floor or what a kill proved."""
    if len(learned.full_runs) < CLEAN_RUNS or learned.peak is None:
        return learned
    host = max(*(size for size, _ in learned.full_runs), host_floor, learned.at_least_bytes)
    gpu = max(*(size for _, size in learned.full_runs), gpu_floor)
    peak = learned.peak
    return replace(
        learned,
        peak=replace(
            peak, host_bytes=min(peak.host_bytes, host), gpu_bytes=min(peak.gpu_bytes, gpu), fill=max(peak.fill, FULL)
        ),
    )

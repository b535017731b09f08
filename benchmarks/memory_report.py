"""Results of the memory benchmark, for people: a line each, and the page of the documentation."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.memory_filling import Filling
from benchmarks.memory_subject import CACHE_MIB, PLAIN_WINDOW, SMALLEST_STEP, Case
from roost.host.this import this_memory

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/memory-accuracy.md"
#: How far the estimate may lie below and above the peak, in percent; and a learned peak from the next one.
LIMITS: Mapping[str, tuple[float, float]] = {"llama.cpp": (-3.0, 10.0), "mlx-lm": (-10.0, 10.0)}
LEARNED_LIMIT = 3.0
_MIB = 2**20


@dataclass(frozen=True)
class Result:
    case: Case
    engine_version: str
    #: What `roost plan --json` said.
    told: Mapping[str, Any]
    #: Peak when it was READY, and when it was full.
    loaded_bytes: int
    peak_bytes: int
    filling: Filling
    #: A peak that counts as learned, and that of the run after; None: not tried in this case.
    learned_bytes: int | None = None
    again_bytes: int | None = None

    @property
    def error(self) -> float:
        """Percent by which the estimate lies above the peak, without its margin."""
        return (self.told["total_bytes"] / self.peak_bytes - 1) * 100

    @property
    def learned_error(self) -> float | None:
        if self.learned_bytes is None or self.again_bytes is None:
            return None
        return (self.learned_bytes / self.again_bytes - 1) * 100

    @property
    def holds(self) -> bool:
        low, high = LIMITS[self.case.engine]
        return low <= self.error <= high and abs(self.learned_error or 0.0) <= LEARNED_LIMIT


def restored(case: Case, kept: Mapping[str, Any]) -> Result:
    """What was written down of a run of this case."""
    return Result(**{**kept, "case": case, "filling": Filling(**kept["filling"])})


_COLUMNS = (
    "model",
    "engine",
    "window × sequences",
    "in the window",
    "loaded",
    "peak",
    "estimate",
    "error",
    "margin on top",
    "learned",
)


def row(result: Result) -> str:
    """One line of the table. Sizes in MiB."""
    case, learned = result.case, result.learned_error
    cells = (
        case.model,
        case.engine,
        f"{case.context:,} × {case.sequences}",
        f"{result.filling.window:,}",
        f"{result.loaded_bytes / _MIB:,.0f}",
        f"{result.peak_bytes / _MIB:,.0f}",
        f"{result.told['total_bytes'] / _MIB:,.0f}",
        f"{result.error:+.1f} %",
        f"{result.told['need']['margin_bytes'] / _MIB:,.0f}",
        "" if learned is None else f"{learned:+.1f} %",
    )
    return f"| {' | '.join(cells)} |"


def page(results: Sequence[Result], left_out: Sequence[str]) -> str:
    head = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    return _TEXT.format(
        table="\n".join([*head, *map(row, results)]),
        engines="; ".join(sorted({f"{result.case.engine} {result.engine_version}" for result in results})),
        host=_host_class(),
        cache="; ".join(f"{size} MiB in {engine}" for engine, size in CACHE_MIB.items()),
        embedded="; ".join(sorted({_embedded(result) for result in results if result.filling.embedded})),
        plain=PLAIN_WINDOW,
        step=SMALLEST_STEP,
        left_out=f" Not measured in this run: {', '.join(left_out)}." if left_out else "",
        low=f"{LIMITS['llama.cpp'][0]:+.0f}",
        high=f"{LIMITS['llama.cpp'][1]:+.0f}",
        mlx=f"{LIMITS['mlx-lm'][1]:.0f}",
        learned=f"{LEARNED_LIMIT:.0f}",
    )


def _embedded(result: Result) -> str:
    return f"{result.filling.embedded:,} tokens with {result.case.model}"


def _host_class() -> str:
    machine, features = this_memory().cpu()
    wide = next((name for name in ("avx512f", "avx2", "asimddp") if name in features), "no wide vectors")
    total = this_memory().memory().total_bytes / 2**30
    return f"{platform.system()}, {machine} with {wide}, {total:.0f} GiB, no GPU, Python {platform.python_version()}"


_TEXT = """\
# How near the estimates come

`make bench-memory` writes this page. It holds what `roost plan` says of a start, before any margin, against the peak
that the kernel kept of the worker once it was full (VmHWM of all its processes, mapped weights among it). Each line is
a roost of its own with that window and that many requests at once; sizes in MiB.{left_out}

{table}

`error` is the estimate against the peak: it shall lie within {low} to {high} % for llama.cpp and ±{mlx} % for MLX.
`margin on top` is what a start has to find free besides. `learned` is the peak that three full runs left, by the rule
that a learned peak follows, against the fourth: within ±{learned} %.

## The regime

- Engines: {engines}.
- Host: {host}. Weights are mapped by llama.cpp and count as far as they are in memory.
- Window: all sequences at once, as far as the column says. In llama.cpp all but the last step was restored from a saved
  slot instead of computed: memory does not see the difference, and the last step touches what a full window makes the
  computation take. MLX computed all of it.
- Steps: as long as roost's own choice up to a window of {plain:,} tokens, beyond it {step} tokens, by one thread.
- Embeddings: one step of llama.cpp as long as it takes ({embedded}); MLX serves none.
- Cached prompts: to their cap ({cache}). Checkpoints: none, since these models can cut their cache.
- `smollm2-135m-long` is the small model with a header that says 32,768 tokens: it was trained for 8,192, and roost
  starts no larger window than the header says.

## What it does not say

These are two small models on a CPU. Larger ones, GPUs, image encoders and draft models were not measured.
"""

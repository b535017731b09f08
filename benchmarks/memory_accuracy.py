"""Predicted against measured memory: what `roost plan` says of a start, and the peak that the kernel kept of it.

Each case is a roost of its own with the settings of that case. `roost plan --json` says what the start would take; then
the start happens, is filled to its window and its caches (memory_filling), and the peak of its processes is read.

    python -m benchmarks.memory_accuracy [--only WORD] [--write]

--write puts the table into docs/reference/memory-accuracy.md. Memory is no time: the machine may be busy. MLX needs
ROOST_ENGINE_MLX_LM_PYTHON and the folder that scripts/prepare_tests.py makes of the small model.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.memory_filling import fill
from benchmarks.memory_learning import learned_error
from benchmarks.memory_report import PAGE, Result, page, row
from benchmarks.memory_subject import Case, home_of, predicted, running, with_window

SMOL, SMOL_FILE = "SmolLM2-135M-Instruct-Q4_1", "smollm2-135m-instruct-q4_1.gguf"
CODER, CODER_FILE = "qwen2.5-coder-0.5b-q4_k_m", "qwen2.5-coder-0.5b-q4_k_m.gguf"
MLX = "smollm2-135m-f32"
#: The small model was trained for less: its longest window is asked of a copy whose header says so.
LONG = "smollm2-135m-long"
CONTEXTS = (2048, 8192, 32768)
SEQUENCES = (1, 4)
#: Window and sequences of MLX, each of which has a window of its own.
MLX_POINTS = ((512, 1), (1024, 1), (512, 3))
#: Cases that are run so often that their peak counts as learned, and once more.
LEARNED = {(SMOL, 2048, 1), (CODER, 2048, 4), (MLX, 512, 1)}


def cases(models: Path, scratch: Path) -> Iterator[Case]:
    """All of them, the quickest first."""
    long = with_window(models / SMOL_FILE, scratch / f"{LONG}.gguf", max(CONTEXTS))
    for context in CONTEXTS:
        for sequences in SEQUENCES:
            small = (SMOL, models / SMOL_FILE) if context <= 8192 else (LONG, long)
            yield Case(*small, "llama.cpp", context, sequences)
            yield Case(CODER, models / CODER_FILE, "llama.cpp", context, sequences)
    for context, sequences in MLX_POINTS:
        yield Case(MLX, models / MLX, "mlx-lm", context, sequences)


def measured(case: Case) -> Result:
    with home_of(case) as home:
        told = predicted(case, home)
        with running(case, home) as worker:
            loaded = worker.peak_bytes()
            filling = asyncio.run(fill(case, worker, told["kv_bytes_per_token"]))
            return Result(case, worker.engine_version, told, loaded, worker.peak_bytes(), filling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models")
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as scratch:
        for case in cases(options.models, Path(scratch)):
            if options.only not in case.name:
                continue
            result = measured(case)
            if (case.model, case.context, case.sequences) in LEARNED:
                result = learned_error(result, lambda again=case: measured(again))
            results.append(result)
            print(row(result), flush=True)
    if options.write:
        PAGE.write_text(page(results), encoding="utf-8")
    failed = [result.case.name for result in results if not result.holds]
    print(f"outside: {', '.join(failed)}" if failed else f"all {len(results)} cases hold")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()

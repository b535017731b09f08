"""Predicted against measured memory: what `roost plan` says of a start, and the peak that the kernel kept of it.

Each case is a roost of its own with the settings of that case. `roost plan --json` says what the start would take; then
the start happens, is filled to its window and its caches (memory_filling), and the peak of its processes is read.

    python -m benchmarks.memory_accuracy [--only WORD] [--keep FOLDER] [--write]

--write puts the table into docs/reference/memory-accuracy.md. Memory is no time: the machine may be busy. MLX needs
ROOST_ENGINE_MLX_LM_PYTHON and the folder that scripts/prepare_tests.py makes of the small model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.memory_filling import fill
from benchmarks.memory_learning import with_learned
from benchmarks.memory_report import PAGE, Result, page, restored, row
from benchmarks.memory_subject import Case, home_of, predicted, running, with_window
from roost.memory.needs import CLEAN_RUNS

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
LEARNED = {(SMOL, 2048, 1), (CODER, 2048, 1), (MLX, 512, 1)}


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


@dataclass
class Runs:
    """Each case's runs, the first of them measured or read from `folder`, where the later ones find them again."""

    folder: Path | None

    def of(self, case: Case, number: int = 0) -> Result:
        if self.has(case, number):
            return restored(case, json.loads(self._file(case, number).read_text()))
        result = measured(case)
        if self.folder:
            self._file(case, number).write_text(json.dumps(asdict(result), default=str))
        return result

    def _file(self, case: Case, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{case.model} {case.context} {case.sequences} {number}.json"

    def has(self, case: Case, number: int = 0) -> bool:
        return self.folder is not None and self._file(case, number).exists()

    def learned(self, case: Case) -> Result:
        """The first run, with what it and more taught, and what came after."""
        return with_learned(*(self.of(case, number) for number in range(CLEAN_RUNS + 1)))


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
    parser.add_argument("--keep", type=Path, help="a folder of results: what was measured before is not measured again")
    parser.add_argument("--kept", action="store_true", help="measure nothing, take what --keep has")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    runs, results = Runs(options.keep), {}
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as scratch:
        found = list(cases(options.models, Path(scratch)))
        missing = sorted({case.path.name for case in found if not case.path.exists()})
        chosen = [case for case in found if options.only in case.name and case.path.exists()]
        chosen = [case for case in chosen if runs.has(case) or not options.kept]
        for case in chosen:
            results[case] = runs.of(case)
            print(row(results[case]), flush=True)
        for case in chosen:
            again = all(runs.has(case, number) for number in range(CLEAN_RUNS + 1)) or not options.kept
            if again and (case.model, case.context, case.sequences) in LEARNED:
                results[case] = runs.learned(case)
                print(row(results[case]), flush=True)
    if missing:
        print(f"not in {options.models}: {', '.join(missing)}; nothing is written without it")
    elif options.write:
        left_out = [case.name for case in found if case not in results]
        PAGE.write_text(page(tuple(results.values()), left_out), encoding="utf-8")
    failed = [case.name for case, result in results.items() if not result.holds]
    print(f"outside: {', '.join(failed)}" if failed else f"all {len(results)} cases hold")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()

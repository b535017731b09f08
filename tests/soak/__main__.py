"""A soak of the installed roost: real models, seeded faults, one table.

python -m tests.soak                 10 minutes (make soak; SOAK_MINUTES moves it)
python -m tests.soak --short         each kind of fault about once
python -m tests.soak --json FILE     also everything that was seen
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.helpers import MODELS, short_folder
from tests.soak import report
from tests.soak.judge import Volume, judge, passed
from tests.soak.record import Record
from tests.soak.run import long_course, short_course, soak
from tests.soak.scene import mlx_python, prepare

SEED = 20_261_125
#: The least that a soak of ten minutes must have seen; a longer or shorter one in proportion.
TEN_MINUTES = Volume(requests=1500, faults=60)
SHORT = Volume(requests=120, faults=15)
GGUF = "smollm2-135m-instruct-q4_1.gguf"


def run_short(gguf: Path, seed: int = SEED, defect: str | None = None) -> Record:
    """The short course in a home of its own."""
    with short_folder() as folder:
        return asyncio.run(soak(prepare(folder, gguf, None, defect), short_course(seed)))


def run_long(gguf: Path, minutes: float, seed: int, mlx_folder: Path | None) -> Record:
    with short_folder() as folder:
        return asyncio.run(soak(prepare(folder, gguf, mlx_folder), long_course(minutes, seed)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path, help="where to write everything that was seen")
    options = parser.parse_args()
    gguf, folder = MODELS / GGUF, MODELS / "smollm2-135m-f32"
    if options.short:
        record, volume = run_short(gguf, options.seed), SHORT
    else:
        mlx_folder = folder if mlx_python() and folder.is_dir() else None
        record = run_long(gguf, options.minutes, options.seed, mlx_folder)
        share = options.minutes / 10
        volume = Volume(int(TEN_MINUTES.requests * share), int(TEN_MINUTES.faults * share))
    rows = judge(record, volume)
    print(report.table(rows, record.seconds))
    if options.json:
        options.json.write_text(report.as_json(rows, record))
    return 0 if passed(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Defects on purpose: the short soak once with each of them, and each must turn it red. One table.

python -m tests.soak.defects              all of them (make soak-defects): a good minute each
python -m tests.soak.defects "slot kept"  some of them
"""

from __future__ import annotations

import argparse
import sys

from tests.helpers import MODELS
from tests.soak.__main__ import GGUF, SEED, SHORT, run_short
from tests.soak.hook.planted import DEFECTS
from tests.soak.judge import Row, judge

#: A row that must be among those that do not hold: red for another reason is no proof.
EXPECTED = {
    "no host check": "requests not refused",
    "clean end accepted": "answers cut short",
    "stop invented": "answers cut short",
    "slot kept": "counters",
    "queue kept": "counters",
    "log teed": "secrets and prompts",
    "default substituted": "answers of another model",
    "registry in place": "faults whose own check failed",
    "workers outlive": "faults whose own check failed",
    "busy killed": "errors that no fault explains",
    "wedge unseen": "held workers",
    "names crossed": "answers of another model",
}


def red(rows: tuple[Row, ...], expected: str) -> bool:
    return any(row.name.startswith(expected) and not row.holds for row in rows)


def try_defect(name: str, seed: int) -> bool:
    """Run it; whether it was found. Prints its line of the table."""
    rows = judge(run_short(MODELS / GGUF, seed, name), SHORT)
    found = red(rows, EXPECTED[name])
    broken = [f"{row.name} ({row.value})" for row in rows if not row.holds]
    print(f"{'red   ' if found else 'MISSED'}  {name:20}  {'; '.join(broken) or 'nothing'}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="DEFECT", help=", ".join(DEFECTS))
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    found = [try_defect(name, options.seed) for name in options.names or DEFECTS]
    print(f"{sum(found)} of {len(found)} defects turned the soak red")
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The outcome for people (one table) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.soak.judge import Row, passed
from tests.soak.record import Record


def table(rows: Iterable[Row], seconds: float) -> str:
    """One line a promise, and under a broken one its first examples."""
    all_ = tuple(rows)
    width = max(len(row.name) for row in all_)
    lines = []
    for row in all_:
        lines.append(f"{'holds' if row.holds else 'FAILS'}  {row.name:{width}}  {row.value}; promised {row.promised}")
        lines += [f"         {example}" for example in row.examples]
    verdict = "passed" if passed(all_) else "NOT PASSED"
    return "\n".join([*lines, f"{verdict} in {seconds:.0f} s"])


def as_json(rows: Iterable[Row], record: Record) -> str:
    all_ = tuple(rows)
    value: dict[str, Any] = {
        "passed": passed(all_),
        "rows": [row.__dict__ for row in all_],
        "record": record.as_json(),
    }
    return json.dumps(value, indent=1)

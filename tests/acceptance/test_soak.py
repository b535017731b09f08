"""The soak in short: real models, eight clients, each kind of fault about once. `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.soak.__main__ import SHORT, run_short
from tests.soak.judge import judge, passed
from tests.soak.report import table


def test_a_minute_of_load_and_faults_keeps_every_promise(embedded_gguf: Path) -> None:
    record = run_short(embedded_gguf)
    rows = judge(record, SHORT)
    assert passed(rows), table(rows, record.seconds)

"""What a benchmark started ends with it, however it ends."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from roost.testing.wait import until_sync

ROOT = Path(__file__).resolve().parents[3]
#: As a shell does to what it runs in the background: SIGINT is ignored by then.
BENCHMARK = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from benchmarks.arms import arms
with arms() as up:
    print(up.roost_pid, flush=True)
    if sys.stdin.readline():
        raise ValueError("a defect of the benchmark")
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
if sys.platform.startswith("linux"):
    SIGNALS.append(signal.SIGKILL)


@pytest.mark.parametrize("how", [None, *SIGNALS], ids=lambda how: how.name if how else "exception")
def test_a_benchmark_that_ends_in_any_way_leaves_no_daemon(how: signal.Signals | None) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as benchmark:
        assert benchmark.stdin and benchmark.stdout and benchmark.stderr
        daemon = int(benchmark.stdout.readline())
        started = psutil.Process(benchmark.pid).children(recursive=True)
        assert daemon in {process.pid for process in started} and len(started) >= 3
        home = Path(psutil.Process(daemon).environ()["ROOST_HOME"])
        if how:
            benchmark.send_signal(how)
        else:
            benchmark.stdin.write("go\n")
            benchmark.stdin.flush()
        assert benchmark.wait(timeout=60) == {None: 1, signal.SIGKILL: -signal.SIGKILL}.get(how, 128 + (how or 0))
        until_sync(lambda: not any(process.is_running() for process in started), timeout_s=30)
        assert how or "a defect of the benchmark" in benchmark.stderr.read()
        assert how is signal.SIGKILL or not home.exists()
        shutil.rmtree(home, ignore_errors=True)

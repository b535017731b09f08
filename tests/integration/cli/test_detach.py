"""`roost up --detach`: a program in the background, and who waits for its word."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from roost.cli.announce import ConsoleAnnouncer
from roost.cli.detach import start_detached
from roost.cli.output import Paint
from roost.config.paths import Paths
from roost.testing.wait import until_sync

#: What the daemon does with its end of the pipe, in a few lines each.
OPENING = """
import json, os, sys, time
pipe = os.fdopen(int(sys.argv[sys.argv.index("--announce-fd") + 1]), "w")
def tell(**event):
    pipe.write(json.dumps(event) + "\\n"); pipe.flush()
"""
READY = """
tell(event="step", text="memory: enough")
tell(event="ready", host="127.0.0.1", port=4711, model="smol", engine="llama.cpp")
pipe.close()
print("in the log", os.getpid(), os.getsid(0), flush=True)
time.sleep(60)
"""
REFUSED = """
tell(event="failed", lines=["error: cannot listen on 127.0.0.1:11434: Ollama answers there"])
sys.exit(78)
"""
WITHOUT_DEFAULT = """
tell(event="problem", text="the default role names far-model, which is not here", mend="roost models add far-model")
print("in the log", os.getpid(), flush=True)
time.sleep(60)
"""
DIED = "sys.exit(0)"


class Run:
    def __init__(self, home: Path, script: str) -> None:
        self.paths = Paths.from_environment({"ROOST_HOME": str(home)})
        self.out, self.err = io.StringIO(), io.StringIO()
        console = ConsoleAnnouncer(self.out, self.err, Paint(enabled=False))
        self.code = start_detached(["--port", "0"], self.paths, console, [sys.executable, "-c", OPENING + script])

    @property
    def log(self) -> Path:
        return self.paths.logs / "daemon.log"


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# A daemon is meant to outlive the `Popen` that started it.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_ready_in_the_background_looks_like_ready_in_the_foreground(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(home, READY)
    assert run.code == 0
    assert run.out.getvalue() == "roost ready http://127.0.0.1:4711/v1 model=smol engine=llama.cpp\n"
    assert run.err.getvalue().startswith("✓ memory: enough\n")
    assert "roost down" in capsys.readouterr().err
    until_sync(lambda: "in the log" in run.log.read_text())
    pid, session = map(int, run.log.read_text().split()[-2:])
    assert session == pid, "it has a session of its own"
    assert stat.S_IMODE(run.log.stat().st_mode) == 0o600
    stop(pid)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_default_that_cannot_answer_ends_the_waiting_and_not_the_daemon(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(home, WITHOUT_DEFAULT)
    assert (run.code, run.out.getvalue()) == (1, "")
    assert 'run "roost models add far-model"' in run.err.getvalue()
    assert "without a default that can answer" in capsys.readouterr().err
    until_sync(lambda: "in the log" in run.log.read_text())
    stop(int(run.log.read_text().split()[-1]))


def test_a_refused_start_gives_its_reason_and_its_exit_code(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(home, REFUSED)
    assert run.code == 78
    assert run.out.getvalue() == ""
    assert "Ollama answers there" in run.err.getvalue()
    assert "daemon.log" in capsys.readouterr().err


def test_a_start_that_ends_without_a_word_is_a_failure(home: Path) -> None:
    assert Run(home, DIED).code == 1


def test_giving_up_while_waiting_stops_what_was_started(home: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from roost.cli.announce import ConsoleAnnouncer
from roost.cli.detach import start_detached
from roost.config.paths import Paths
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
paths = Paths.from_environment({{"ROOST_HOME": {str(home)!r}}})
start_detached([], paths, ConsoleAnnouncer(sys.stdout, sys.stderr), [sys.executable, "-c", child])
"""
    waiting = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    log = home / "state/logs/daemon.log"
    until_sync(lambda: log.exists() and log.read_text().endswith("\n"))
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) != 0
    assert not psutil.pid_exists(int(log.read_text()))

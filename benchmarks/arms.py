"""What the benchmarks start: a stand-in engine, a bare pass-through and roost, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from roost.host.guardian import PR_SET_PDEATHSIG, prctl

HERE = Path(__file__).resolve().parent
MODEL = "stand-in"


@dataclass(frozen=True)
class Arms:
    """Base URLs, without /v1. All three lead to the same engine process."""

    direct: str
    passthrough: str
    roost: str
    roost_pid: int

    @property
    def named(self) -> Mapping[str, str]:
        return {"direct": self.direct, "passthrough": self.passthrough, "roost": self.roost}


@contextmanager
def arms() -> Iterator[Arms]:
    """All three, ready; stopped at the end."""
    with ExitStack() as stack:
        engine = stack.enter_context(
            started([sys.executable, "-m", "roost.testing.engine", "--model", MODEL], "stand-in listening on ")
        )
        floor = stack.enter_context(
            started([sys.executable, str(HERE / "passthrough.py"), engine.said], "listening on ")
        )
        settings = external_settings(engine.said)
        roost = stack.enter_context(roost_up(settings, {"default": MODEL}))
        yield Arms(engine.said, floor.said, roost.said, roost.pid)


@dataclass(frozen=True)
class Started:
    """A process and what followed the awaited prefix on its line."""

    said: str
    pid: int
    #: Of a roost.
    home: Path | None = None


@contextmanager
def started(argv: Sequence[str], prefix: str, env: Mapping[str, str] | None = None) -> Iterator[Started]:
    """Run a process until the block ends, however it ends; it is up once it printed a line that starts with `prefix`.

    A signal ends the block as an exception does. On Linux the process is told to end too when this one is killed.
    """
    with _signals_end_the_block():
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=env,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )
        try:
            yield Started(_await_line(process, prefix), process.pid)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """With a grace; without it at the second signal."""
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=45)
    except subprocess.TimeoutExpired:
        _kill(process)
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _signals_end_the_block() -> Iterator[None]:
    """Explicit handlers: SIGTERM and SIGHUP would end this process at once, and a shell hands SIGINT down ignored to
    what it runs in the background."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_line(process: subprocess.Popen[str], prefix: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(prefix):
            return line.removeprefix(prefix).strip()
    raise SystemExit(f"{process.args!r} ended with {process.wait()} before it said {prefix!r}")


@contextmanager
def roost_up(settings: str, roles: Mapping[str, str], models: Path | None = None) -> Iterator[Started]:
    """roost in the foreground with a private home; `said` is its address without /v1. `models`: its models folder."""
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as folder:
        home = Path(folder)
        (home / "roost.toml").write_text(settings)
        (home / "registry.json").write_text(json.dumps({"models": dict(roles)}))
        # The load of a benchmark is no desktop to give way to.
        own = {"ROOST_HOME": folder, "ROOST_COEXISTENCE__ENABLED": "false"}
        env = {**os.environ, **own} | ({"ROOST_MODELS": str(models)} if models else {})
        argv = [sys.executable, "-m", "roost.cli.main", "up", "--port", "0"]
        with started(argv, "roost ready ", env) as daemon:
            address = daemon.said.split()[0].removesuffix("/v1")
            yield Started(address, daemon.pid, home)


def external_settings(engine_url: str) -> str:
    """roost.toml with the stand-in as a model that roost calls and does not start.

    As many requests at once as the bare pass-through sends on: its queue is not what is measured.
    """
    return f"""
[catalog]
huggingface = false
lm_studio = false
ollama = false

[models."{MODEL}"]
external = {{ url = "{engine_url}" }}
engine = {{ max_sequences = 64 }}
"""

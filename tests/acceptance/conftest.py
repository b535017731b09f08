"""The installed `roost` as a subprocess with a home of its own: what a user has."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from roost.testing.wait import until_sync

ROOST = Path(sys.executable).with_name("roost")
#: A stand-in engine as a `command` model: real process, real socket, any misbehaviour.
STAND_IN = f"{sys.executable} -m roost.testing.engine --port ${{PORT}} --model ${{MODEL_ID}}"

#: A model that is not ready by then will not be; the slowest, vllm-mlx on a busy machine, took a minute.
READY_S = 300.0


class ControlConnection(http.client.HTTPConnection):
    """To the daemon's control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("roost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Roost:
    """One daemon in the foreground, and its command line."""

    home: Path
    environ: dict[str, str]
    process: subprocess.Popen[str] | None = None
    ready_line: str = ""
    port: int = 0
    #: Stands before each of its commands: `nsenter` into a network of its own.
    prefix: tuple[str, ...] = ()
    _clients: list[openai.OpenAI] = field(default_factory=list)

    def cli(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.prefix, str(ROOST), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"roost {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def settings(self, text: str) -> None:
        (self.home / "roost.toml").write_text(text)

    def registry(self, **roles: str) -> None:
        (self.home / "registry.json").write_text(
            json.dumps({"models": {k.replace("_", "-"): v for k, v in roles.items()}})
        )

    def start(self, *flags: str) -> Roost:
        """Returns once the ready line is out."""
        self.launch(*flags)
        assert self.process and self.process.stdout
        there, _, _ = select.select([self.process.stdout], [], [], READY_S)
        assert there, f"no ready line within {READY_S} s; {self.errors()}"
        self.ready_line = self.process.stdout.readline()
        assert self.ready_line.startswith("roost ready "), self.ready_line + self.errors()
        return self

    def launch(self, *flags: str) -> None:
        """Starts it without waiting for the model; the port is known once the endpoint answers."""
        self.end()
        with (self.home / "stderr").open("w") as errors:
            self.process = subprocess.Popen(
                [*self.prefix, str(ROOST), "up", "--port", "0", *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environ,
            )
        until_sync(self._find_port, timeout_s=20, what=f"the endpoint; {self.errors()}")

    def _find_port(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise AssertionError(f"roost up ended with {self.process.returncode}: {self.errors()}")
        try:
            report = self.status()
        except OSError:
            return False
        self.port = int(report["endpoint"].rsplit(":", 1)[1].split("/")[0])
        return True

    def errors(self) -> str:
        path = self.home / "stderr"
        return path.read_text() if path.exists() else ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **arguments: Any) -> openai.OpenAI:
        self._clients.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, **arguments))
        return self._clients[-1]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.loads(answer.read())

    def status(self) -> dict[str, Any]:
        """What `roost status --json` prints, from where it gets it: polling must not start a program each time."""
        with closing(ControlConnection(self.home / "state/run/roost.sock")) as connection:
            connection.request("GET", "/roost/v1/status")
            report: dict[str, Any] = json.loads(connection.getresponse().read())
        return report

    def worker(self, model: str) -> dict[str, Any]:
        found = [worker for worker in self.status()["workers"] if worker["model"] == model]
        return found[0] if found else {"state": "unknown", "pid": None}

    def journal(self) -> list[dict[str, Any]]:
        """The daemon's own log."""
        lines = (self.home / "state/logs/daemon.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> None:
        """Whatever state it is in: no process, no pipe and no connection is left."""
        while self._clients:
            self._clients.pop().close()
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(45)
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def make_roost(short_path: Path, embedded_gguf: Path) -> Iterator[Callable[[], Roost]]:
    made: list[Roost] = []

    def make() -> Roost:
        home = short_path / f"h{len(made)}"
        home.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            # What else this machine does must not change what is tested.
            "ROOST_COEXISTENCE__ENABLED": "false",
            "HOME": str(short_path / "user"),
            "ROOST_HOME": str(home),
            "ROOST_EMBEDDED_GGUF": str(embedded_gguf),
            "CANARY_SECRET": "canary-5f2a91",
        }
        environ |= {name: value for name, value in os.environ.items() if name.startswith("ROOST_ENGINE_")}
        made.append(Roost(home, environ))
        return made[-1]

    yield make
    for roost in made:
        roost.end()


@pytest.fixture
def roost(make_roost: Callable[[], Roost]) -> Roost:
    return make_roost()


@pytest.fixture
def stand_in(roost: Roost) -> Callable[..., Roost]:
    """A roost whose models `a` and `b` are stand-ins with the flags given."""

    def make(settings: str = "", **flags: str) -> Roost:
        tables = [f'[models."{name}".command]\ncmd = "{STAND_IN} {flags.get(name, "")}"\n' for name in ("a", "b")]
        roost.settings(settings + "\n" + "\n".join(tables))
        roost.registry(default="a", coding="b")
        return roost

    return make


def processes_with(text: str) -> list[psutil.Process]:
    """Living processes whose command line holds this text."""
    return [process for process in psutil.process_iter() if text in _said(lambda p=process: " ".join(p.cmdline()))]


def workers_of(roost: Roost) -> list[psutil.Process]:
    """Living processes that this roost started, guardians too: their HOME lies in its run folder."""
    home = str(roost.home)
    return [
        process for process in psutil.process_iter() if home in _said(lambda p=process: p.environ().get("HOME", ""))
    ]


def _said(ask: Callable[[], str]) -> str:
    """What a process says of itself; nothing once it is gone or a zombie."""
    try:
        return ask()
    except psutil.Error:
        return ""


def wait_for_no_worker(roost: Roost, timeout_s: float = 5.0) -> None:
    until_sync(lambda: not workers_of(roost), timeout_s=timeout_s, what="no worker is left")

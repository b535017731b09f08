"""The roost under test: the installed command as a process, its control socket, and its home."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from roost.testing.wait import until
from tests.soak.record import Footprint

ROOST = Path(sys.executable).with_name("roost")
#: Makes the daemon write the number of its tasks on SIGUSR2, and plants a defect where one is named.
HOOK = Path(__file__).with_name("hook")
#: In the daemon's environment and nowhere else.
CANARY = "canary-7d21f0c4"
_START_S = 60.0
#: So many looks in a row that see the same.
_ALIKE = 20


@dataclass
class Daemon:
    """One home; one process at a time."""

    home: Path
    environ: dict[str, str]
    port: int
    process: subprocess.Popen[bytes] | None = None
    #: Exits that were not asked for.
    deaths: list[str] = field(default_factory=list)
    _asked_to_end: bool = False

    @classmethod
    def at(cls, home: Path, gguf: Path, defect: str | None = None) -> Daemon:
        """A daemon that sees nothing of this machine but the model."""
        passed = {name: value for name, value in os.environ.items() if name.startswith("ROOST_ENGINE_")}
        environ = {
            "PATH": os.environ["PATH"],
            # The traffic of the soak is no desktop to give way to.
            "ROOST_COEXISTENCE__ENABLED": "false",
            "HOME": str(home / "user"),
            "ROOST_HOME": str(home),
            "ROOST_EMBEDDED_GGUF": str(gguf),
            "SOAK_CANARY": CANARY,
            **hooked(home),
        }
        return cls(home, passed | environ | ({"SOAK_DEFECT": defect} if defect else {}), free_port())

    # Its process.

    async def start(self) -> None:
        """Returns once it says that it is ready."""
        said = self.home / "stdout"
        self._launch(said)
        await until(lambda: self._is_ready(said), timeout_s=_START_S, what="the ready line")

    def _launch(self, said: Path) -> None:
        self._asked_to_end = False
        command = [str(ROOST), "up", "--port", str(self.port)]
        with said.open("wb") as out, (self.home / "stderr").open("ab") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environ)

    def _is_ready(self, said: Path) -> bool:
        assert self.process
        if (code := self.process.poll()) is not None:
            raise RuntimeError(f"roost up ended with {code}: {self.errors()[-2000:]}")
        return b"roost ready " in said.read_bytes()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def kill(self) -> None:
        self._asked_to_end = True
        assert self.process
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self, deadline_s: float) -> tuple[int | None, float]:
        """SIGTERM; the exit code (None: it had to be killed) and the seconds that it took."""
        assert self.process
        self._asked_to_end = True
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code: int | None = await asyncio.to_thread(self.process.wait, deadline_s)
        except subprocess.TimeoutExpired:
            code = None
            await self.kill()
        return code, time.monotonic() - started

    def look(self) -> None:
        """Notes an end that nobody asked for."""
        if self.process and not self._asked_to_end and (code := self.process.poll()) is not None:
            self._asked_to_end = True
            self.deaths.append(f"the daemon ended by itself with {code}")

    def cli(self, *arguments: str) -> str:
        """A command of the same home; its output."""
        done = subprocess.run(
            [str(ROOST), *arguments], env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(f"roost {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    # Its control socket.

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """One question over the control socket. Raises aiohttp.ClientError while there is no daemon."""
        connector = aiohttp.UnixConnector(str(self.home / "state/run/roost.sock"))
        timeout = aiohttp.ClientTimeout(total=90)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://roost{path}", json=body) as response,
        ):
            return response.status, await response.read()

    async def workers(self) -> dict[str, dict[str, Any]]:
        """Model id to what status says of its worker."""
        _, body = await self.ask("GET", "/roost/v1/workers")
        return {worker["model"]: worker for worker in json.loads(body)["workers"]}

    async def status(self) -> dict[str, Any]:
        _, body = await self.ask("GET", "/roost/v1/status")
        report: dict[str, Any] = json.loads(body)
        return report

    async def ready(self, model: str) -> dict[str, Any] | None:
        """The worker of a model that is READY now; None when it is not."""
        worker = (await self.workers()).get(model, {})
        return worker if worker.get("state") == "ready" and worker.get("pid") else None

    # Its files.

    @property
    def settings(self) -> Path:
        return self.home / "roost.toml"

    @property
    def registry(self) -> Path:
        return self.home / "registry.json"

    @property
    def logs(self) -> Path:
        return self.home / "state/logs"

    def errors(self) -> str:
        """What it said on stderr."""
        return (self.home / "stderr").read_text(errors="replace")

    # What it holds.

    async def footprint(self) -> Footprint:
        return await footprint_of(self.pid, self.home)

    async def settled_footprint(self) -> Footprint:
        return await settled_footprint(self.pid, self.home)


def hooked(home: Path) -> dict[str, str]:
    """What must be in a daemon's environment for `footprint_of`."""
    return {"PYTHONPATH": str(HOOK), "SOAK_TASKS": str(home / "tasks")}


async def footprint_of(pid: int, home: Path) -> Footprint:
    """What a daemon holds now; its tasks are known when it was started `hooked`."""
    process, told = psutil.Process(pid), home / "tasks"
    told.unlink(missing_ok=True)
    process.send_signal(signal.SIGUSR2)
    doing = str(await until(lambda: told.exists() and told.read_text(), timeout_s=10, what="its tasks")).splitlines()
    return Footprint(process.num_fds(), process.memory_info().rss, len(doing), tuple(doing))


async def settled_footprint(pid: int, home: Path, timeout_s: float = 20.0) -> Footprint:
    """What it holds once its tasks and descriptors stay the same."""
    seen: list[Footprint] = []

    async def same() -> bool:
        seen.append(await footprint_of(pid, home))
        return len(seen) > _ALIKE and len({(look.descriptors, look.tasks) for look in seen[-_ALIKE:]}) == 1

    await until(same, timeout_s=timeout_s, what="tasks and descriptors stay the same")
    return seen[-1]


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[Daemon]:
    """Started; no process of it is left when the block is over, whatever happened."""
    try:
        await daemon.start()
        yield daemon
    finally:
        if daemon.lives():
            await daemon.kill()
        for process in processes_of(daemon.home):
            with suppress(psutil.Error):
                process.kill()


def processes_of(home: Path) -> list[psutil.Process]:
    """Living workers and guardians of this home: their own HOME lies in its run folder."""
    place = str(home / "state/run")
    return [process for process in psutil.process_iter() if place in environment_of(process).get("HOME", "")]


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Empty once it is gone."""
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

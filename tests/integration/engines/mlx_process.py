"""An MLX worker started by hand from its launch plan, with its log at hand."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind
from roost.config.settings import Knobs, ModelSettings
from roost.engines.http import worker_http
from roost.engines.types import Engine, Health, Healthy, LaunchPlan, Loading, UnixEndpoint, WorkerPlace
from roost.testing.wait import until_sync
from tests.helpers import kill_group, short_folder

#: Imports of an MLX engine take seconds of CPU, and the machine may be busy.
LOAD_DEADLINE_S = 120.0
#: MLX on a CPU computes ten tokens a second.
REQUEST_DEADLINE_S = 120.0

Argv = tuple[str, ...]


def folder_spec(folder: Path, context_length: int = 8192) -> ModelSpec:
    return ModelSpec(
        id="org/smol",
        format=ModelFormat.SAFETENSORS,
        path=folder,
        source=Source(kind=SourceKind.FOLDER, location=str(folder)),
        context_length=context_length,
        vocabulary_size=49152,
        capabilities=frozenset({"chat", "completion"}),
    )


class UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=REQUEST_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class MlxProcess:
    plan: LaunchPlan
    process: subprocess.Popen[bytes]
    #: Its standard output and error.
    log_path: Path
    home: Path

    @property
    def socket_path(self) -> Path:
        assert isinstance(self.plan.endpoint, UnixEndpoint)
        return self.plan.endpoint.path

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def post(self, path: str, body: dict[str, Any] | bytes) -> tuple[int, dict[str, Any]]:
        """Status and decoded body."""
        connection, response = self.open(path, body)
        try:
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def events(self, path: str, body: dict[str, Any]) -> list[str]:
        """The lines of a streamed answer."""
        connection, response = self.open(path, body | {"stream": True})
        try:
            return [line for line in response.read().decode().split("\n\n") if line]
        finally:
            connection.close()

    def send(self, path: str, body: dict[str, Any] | bytes) -> UnixConnection:
        """A request whose answer nobody has read yet."""
        connection = UnixConnection(self.socket_path)
        raw = body if isinstance(body, bytes) else json.dumps({"model": self.plan.served_name, **body})
        connection.request("POST", path, raw, {"Content-Type": "application/json"})
        return connection

    def open(self, path: str, body: dict[str, Any] | bytes) -> tuple[UnixConnection, HTTPResponse]:
        connection = self.send(path, body)
        return connection, connection.getresponse()

    def generates(self) -> bool:
        status, _ = self.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1})
        return status == 200


@contextmanager
def mlx_process(
    engine: Engine, spec: ModelSpec, knobs: Knobs, change_argv: Callable[[Argv], Argv] = lambda argv: argv
) -> Iterator[MlxProcess]:
    """Started, not necessarily ready; gone with its group afterwards."""
    with short_folder() as folder:
        place = WorkerPlace(socket_path=folder / "w.sock", home=folder / "home", port=0, key="", nonce="n1")
        place.home.mkdir(mode=0o700)
        plan = engine.launch(spec, knobs, ModelSettings(), place)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                change_argv(plan.argv),
                env=dict(plan.env),
                cwd=plan.cwd,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin as entry:
            entry.write(plan.stdin or b"")
        try:
            yield MlxProcess(plan, process, folder / "log", place.home)
        finally:
            kill_group(process)


def health(engine: Engine, worker: MlxProcess) -> Health:
    """One question, over a session of its own."""

    async def ask() -> Health:
        http = worker_http(worker.plan.endpoint)
        try:
            return await engine.health(http)
        finally:
            await http.session.close()

    return asyncio.run(ask())


def until_healthy(engine: Engine, worker: MlxProcess) -> list[Health]:
    """Every health on the way; the last one is Healthy."""
    seen: list[Health] = []

    def healthy() -> bool:
        assert worker.process.poll() is None, worker.log
        seen.append(health(engine, worker))
        return isinstance(seen[-1], Healthy)

    until_sync(healthy, timeout_s=LOAD_DEADLINE_S, what="health")
    assert all(isinstance(state, Loading) for state in seen[:-1])
    return seen


def broken_copy(folder: Path, target: Path) -> Path:
    """The same model with weights that are cut off."""
    target.mkdir()
    for path in folder.glob("*.json"):
        (target / path.name).write_bytes(path.read_bytes())
    with (folder / "model.safetensors").open("rb") as weights:
        (target / "model.safetensors").write_bytes(weights.read(4096))
    return target


def files_under(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()

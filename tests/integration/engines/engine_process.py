"""One worker started by hand from its launch plan, as `roost.workers` would, and asked over its own session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roost.catalog.embedded import ensure_embedded
from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines.http import Answer, ask, worker_http
from roost.engines.types import Engine, Healthy, LaunchPlan, WorkerHttp, WorkerPlace
from roost.gateway.job import STREAM_HEADERS
from roost.testing.wait import until
from tests.helpers import kill_group, short_folder

LOAD_DEADLINE_S = 60.0


def small_model() -> ModelSpec:
    """The 135M model that roost brings along, kept between runs; fetched once where it is missing."""
    home = Path.home() / ".cache"
    paths = replace(Paths.from_environment(os.environ), models=home / "roost-models")
    return gguf_spec(ensure_embedded(paths))


def gguf_spec(path: Path) -> ModelSpec:
    return ModelSpec(
        id="smol",
        format=ModelFormat.GGUF,
        path=path,
        source=Source(kind=SourceKind.FILE, location=str(path)),
        architecture="llama",
        context_length=8192,
        vocabulary_size=49152,
        capabilities=frozenset({"chat", "completion"}),
        metadata={"llama.block_count": 30},
    )


@contextmanager
def worker_place(port: int = 0) -> Iterator[WorkerPlace]:
    with short_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0o700)
        place = WorkerPlace(socket_path=folder / "w.sock", home=home, port=port, key="", nonce="n1")
        place.saved.mkdir(mode=0o700)
        yield place


@dataclass(frozen=True)
class RunningWorker:
    plan: LaunchPlan
    http: WorkerHttp
    process: subprocess.Popen[bytes]
    health: Healthy

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """As the gateway does it: a stream has a connection of its own."""
        own = STREAM_HEADERS if body.get("stream") else {}
        http = replace(self.http, headers={**self.http.headers, **own})
        return await ask(http, "POST", path, {"model": self.plan.served_name, **body}, timeout_s=LOAD_DEADLINE_S)


@asynccontextmanager
async def running_worker(
    engine: Engine, spec: ModelSpec, knobs: Knobs, model: ModelSettings | None = None, port: int = 0
) -> AsyncIterator[RunningWorker]:
    """Healthy when it is handed over, gone with its group afterwards."""
    with worker_place(port) as place:
        plan = engine.launch(spec, knobs, model or ModelSettings(), place)
        process = start(plan)
        http = worker_http(plan.endpoint)
        try:
            yield RunningWorker(plan, http, process, await until_healthy(engine, http, process))
        finally:
            await http.session.close()
            kill_group(process)


def start(plan: LaunchPlan) -> subprocess.Popen[bytes]:
    """As workers does it: the plan's environment and nothing else, input written and closed, a group of its own."""
    process = subprocess.Popen(
        plan.argv,
        env=dict(plan.env),
        cwd=plan.cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(plan.stdin or b"")
    process.stdin.close()
    process.stdin = None
    return process


async def until_healthy(engine: Engine, http: WorkerHttp, process: subprocess.Popen[bytes]) -> Healthy:
    async def healthy() -> Healthy | None:
        assert process.poll() is None, f"the worker ended with {process.returncode}"
        health = await engine.health(http)
        return health if isinstance(health, Healthy) else None

    found = await until(healthy, timeout_s=LOAD_DEADLINE_S, what="the worker's health")
    assert found is not None
    return found


def run_to_end(plan: LaunchPlan, timeout_s: float = LOAD_DEADLINE_S) -> subprocess.CompletedProcess[bytes]:
    """For starts that must fail."""
    return subprocess.run(
        plan.argv,
        env=dict(plan.env),
        cwd=plan.cwd,
        input=plan.stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def chunks(body: bytes) -> list[dict[str, Any]]:
    """The data events of an SSE body, `[DONE]` left out."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]

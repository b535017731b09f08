"""Cold request to first token: the embedded model loaded by roost on demand, and the same engine started by hand.

By hand means the very command that roost would run, started directly and asked as soon as its /health is 200. Pairs
are interleaved; the file is in the page cache for both, since the first pair is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.arms import MODEL, external_settings, roost_up, started
from benchmarks.measure import spread, verdict
from roost.catalog.catalog import Catalog
from roost.catalog.compose import EMBEDDED_ID
from roost.catalog.embedded import ensure_embedded
from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.settings import ModelSettings, Settings
from roost.engines.table import build_engines
from roost.engines.types import LaunchPlan, UnixEndpoint, WorkerPlace

_POLL_S = 0.005


async def first_token_s(
    session: aiohttp.ClientSession, url: str, model: str, started_at: float, *, raw: bool = False
) -> float:
    """Seconds from `started_at` (perf_counter) to the first content of a streamed chat.

    raw: of a completion of one word, for an engine whose prefill of a template's own text would hide the start.
    """
    body = {"model": model, "stream": True, "max_tokens": 1}
    asks = {"prompt": "hi"} if raw else {"messages": [{"role": "user", "content": "hi"}]}
    route = "completions" if raw else "chat/completions"
    async with session.post(f"{url}/v1/{route}", json=body | asks) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {") and _has_content(json.loads(line[6:])):
                return time.perf_counter() - started_at
    raise SystemExit(f"{url} ended its stream without a token")


def _has_content(event: dict[str, Any]) -> bool:
    return any(choice.get("text") or choice.get("delta", {}).get("content") for choice in event.get("choices", ()))


async def by_hand_s(plan: LaunchPlan) -> float:
    """Start the engine, wait for its /health, ask it; seconds to the first token."""
    assert isinstance(plan.endpoint, UnixEndpoint)
    started_at = time.perf_counter()
    with engine_process(plan):
        connector = aiohttp.UnixConnector(str(plan.endpoint.path))
        async with aiohttp.ClientSession(connector=connector) as session:
            await until_healthy(session)
            return await first_token_s(session, "http://engine", plan.served_name, started_at)


@contextmanager
def engine_process(plan: LaunchPlan) -> Iterator[None]:
    process = subprocess.Popen(
        plan.argv, env=dict(plan.env), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(plan.stdin or b"")
    process.stdin.close()
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def until_healthy(session: aiohttp.ClientSession) -> None:
    """Until the engine's own /health is 200."""
    while True:
        try:
            async with session.get("http://engine/health") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass  # its socket is not there yet
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def unloaded(session: aiohttp.ClientSession, url: str, model: str) -> AsyncIterator[None]:
    """The block runs with the model not resident; it is unloaded again afterwards."""
    yield
    async with session.post(f"{url}/roost/v1/models/{model}/unload") as response:
        response.raise_for_status()


async def through_roost_s(session: aiohttp.ClientSession, url: str) -> float:
    async with unloaded(session, url, EMBEDDED_ID):
        return await first_token_s(session, url, EMBEDDED_ID, time.perf_counter())


def embedded_plan(spec: ModelSpec, paths: Paths, folder: Path) -> LaunchPlan:
    """The start that roost would make, in a folder of its own."""
    home = folder / "worker"
    home.mkdir(mode=0o700)
    place = WorkerPlace(socket_path=folder / "w.sock", home=home, port=0, key="unused", nonce="by-hand")
    engine = build_engines(paths, os.environ)["llama.cpp"]
    return engine.launch(spec, Settings().knobs(spec.id, "llama.cpp"), ModelSettings(), place)


async def report(url: str, spec: ModelSpec, paths: Paths, pairs: int) -> None:
    hand, roost = [], []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
        for pair in range(pairs + 1):
            with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as folder:
                by_hand = await by_hand_s(embedded_plan(spec, paths, Path(folder)))
            on_demand = await through_roost_s(session, url)
            if pair:
                hand.append(by_hand)
                roost.append(on_demand)
    print(f"engine by hand, s to the first token: {spread(hand)}")
    print(f"roost on demand, s to the first token: {spread(roost)}")
    ratios = [a / b for a, b in zip(roost, hand, strict=True)]
    print(verdict("cold request to first token, roost over by hand", spread(ratios), 1.05))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models", help="kept between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as folder:
        paths = Paths.from_environment({"ROOST_HOME": folder, "ROOST_MODELS": str(options.models)})
        ensure_embedded(paths)
        spec = Catalog.open(paths, Settings(), os.environ).get(EMBEDDED_ID)
        if not isinstance(spec, ModelSpec):
            raise SystemExit(f"{EMBEDDED_ID} is not in {options.models}")
        engine = [sys.executable, "-m", "roost.testing.engine", "--model", MODEL]
        with started(engine, "stand-in listening on ") as stand_in:
            settings = external_settings(stand_in.said) + '\n[rotation]\npolicy = "always"\nmin_residency_s = 0.0\n'
            with roost_up(settings, {"default": MODEL}, models=options.models) as daemon:
                asyncio.run(report(daemon.said, spec, paths, options.pairs))


if __name__ == "__main__":
    main()

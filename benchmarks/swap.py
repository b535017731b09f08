"""A swap between two models under load, held against the engine's own stop and start by hand.

Through roost: the resident answers several clients one request after another, then one asks for the other model. roost
lets the running requests end (the drain), stops the one and starts the other. By hand: the very commands that roost
runs; SIGTERM to an engine that has served until it is gone, then the start of another until its first token. Pairs are
interleaved. Two ratios: the time from the end of the last running request to the other model's first token over stop
and start; and the whole time from the request on over drain, stop and start.

    python -m benchmarks.swap [--pairs N] [--no-resume]

With resume (the default) a swap also writes down what the leaving model had computed, which no engine does by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.arms import roost_up
from benchmarks.cold_start import embedded_plan, first_token_s, until_healthy
from benchmarks.measure import spread, verdict
from roost.catalog.catalog import Catalog
from roost.catalog.compose import EMBEDDED_ID
from roost.catalog.embedded import ensure_embedded
from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.engines.types import LaunchPlan, UnixEndpoint

#: What is promised of the whole time.
LIMIT = 1.1
OTHER_ID = "Other-Q4_1"
CLIENTS = 3
#: So long the resident's traffic keeps a swap waiting; it is part of the drain here.
MAX_WAIT_S = 0.2
#: Requests of the resident that have come to their end before the other model is asked for.
_WARM_REQUESTS = 6


@dataclass(frozen=True)
class ByHand:
    """Seconds of one engine."""

    stop: float
    start: float


@dataclass(frozen=True)
class Swap:
    """Seconds of one swap through roost."""

    #: From the request for the other model to the end of the last one of the resident.
    drain: float
    #: From there to the first token.
    change: float


async def by_hand(leaving: LaunchPlan, coming: LaunchPlan) -> ByHand:
    """Stops an engine that has served, then starts another."""
    async with serving(leaving) as first:
        stop_s = await asyncio.to_thread(ended_s, first)
    started_at = time.perf_counter()
    async with serving(coming):
        return ByHand(stop_s, time.perf_counter() - started_at)


@asynccontextmanager
async def serving(plan: LaunchPlan) -> AsyncIterator[subprocess.Popen[bytes]]:
    """An engine by hand that has given a token; killed at the end."""
    assert isinstance(plan.endpoint, UnixEndpoint)
    for path in plan.endpoint.path.parent.rglob("*"):
        if path.is_socket():  # its control socket too: an engine binds none that is there
            path.unlink()
    process = start(plan)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(plan.endpoint.path))) as session:
            await until_healthy(session)
            await first_token_s(session, "http://engine", plan.served_name, 0.0)
        yield process
    finally:
        process.kill()
        process.wait()


def start(plan: LaunchPlan) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(plan.argv, env=dict(plan.env), stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(plan.stdin or b"")
    return process


def ended_s(process: subprocess.Popen[bytes]) -> float:
    """Seconds from SIGTERM until it is gone."""
    started_at = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait()
    return time.perf_counter() - started_at


@dataclass
class Load:
    """Clients that ask the resident, one request after another; when each of their requests ended."""

    session: aiohttp.ClientSession
    url: str
    model: str
    ends: list[float] = field(default_factory=list)
    warm: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> None:
        body = {"model": self.model, "max_tokens": 24, "messages": [{"role": "user", "content": "Count to ten."}]}
        while True:
            async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                await response.read()
            self.ends.append(time.perf_counter())
            if len(self.ends) >= _WARM_REQUESTS:
                self.warm.set()


async def through_roost(session: aiohttp.ClientSession, url: str, resident: str, other: str) -> Swap:
    """One swap from the loaded resident to the other."""
    await first_token_s(session, url, resident, 0.0)
    load = Load(session, url, resident)
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(load.ask()) for _ in range(CLIENTS)]
        await load.warm.wait()
        asked_at = time.perf_counter()
        total_s = await first_token_s(session, url, other, asked_at)
        for client in clients:
            client.cancel()
    drained_at = max(end for end in load.ends if end <= asked_at + total_s)
    drain_s = max(0.0, drained_at - asked_at)
    return Swap(drain_s, total_s - drain_s)


async def report(url: str, plans: dict[str, LaunchPlan], pairs: int) -> None:
    hands, swaps = [], []
    names = [EMBEDDED_ID, OTHER_ID]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
        for pair in range(pairs + 1):
            leaving, coming = names[pair % 2], names[(pair + 1) % 2]
            hand = await by_hand(plans[leaving], plans[coming])
            swap = await through_roost(session, url, leaving, coming)
            if pair:  # the first one brings the files into the page cache
                hands.append(hand)
                swaps.append(swap)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"by hand, s: stop {spread([h.stop for h in hands])}, start {spread([h.start for h in hands])}")
    print(f"roost, s: drain {spread([s.drain for s in swaps])}, from there {spread([s.change for s in swaps])}")
    both = list(zip(swaps, hands, strict=True))
    change = [s.change / (h.stop + h.start) for s, h in both]
    whole = [(s.drain + s.change) / (s.drain + h.stop + h.start) for s, h in both]
    print(verdict("swap over drain, stop and start", spread(whole), LIMIT))
    print(f"       without the drain: {spread(change)}")


@contextmanager
def two_models(models: Path) -> Iterator[tuple[Paths, Path]]:
    """The embedded model and another one of the same size and speed, which lies in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as folder:
        paths = Paths.from_environment({"ROOST_HOME": folder, "ROOST_MODELS": str(models)})
        ensure_embedded(paths)
        copies = Path(folder) / "copies"
        copies.mkdir()
        weights = bytearray(_spec_path(paths).read_bytes())
        weights[-1] ^= 1  # the least bit of one weight: the very same file would be the same model, whatever its name
        (copies / f"{OTHER_ID}.gguf").write_bytes(weights)
        yield paths, copies


def _spec_path(paths: Paths) -> Path:
    path = _spec(paths, Settings(), EMBEDDED_ID).path
    assert path is not None
    return path


def _spec(paths: Paths, settings: Settings, model_id: str) -> ModelSpec:
    spec = Catalog.open(paths, settings, os.environ).get(model_id)
    if not isinstance(spec, ModelSpec):
        raise SystemExit(f"{model_id} is not to be had: {spec}")
    return spec


def settings_text(copies: Path, *, resume: bool) -> str:
    return f"""
[catalog]
huggingface = false
lm_studio = false
ollama = false
folders = ["{copies}"]
[rotation]
policy = "always"
min_residency_s = 0.0
[queue]
max_wait_s = {MAX_WAIT_S}
[resume]
enabled = {str(resume).lower()}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--no-resume", dest="resume", action="store_false")
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models", help="kept between runs")
    options = parser.parse_args()
    with two_models(options.models) as (paths, copies), tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as place:
        text = settings_text(copies, resume=options.resume)
        settings = Settings.model_validate({"catalog": {"folders": [str(copies)]}})
        plans = {}
        for name in (EMBEDDED_ID, OTHER_ID):
            (Path(place) / name).mkdir()
            plans[name] = embedded_plan(_spec(paths, settings, name), paths, Path(place) / name)
        with roost_up(text, {"default": EMBEDDED_ID}, models=options.models) as daemon:
            asyncio.run(report(daemon.said, plans, options.pairs))


if __name__ == "__main__":
    main()

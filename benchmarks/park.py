"""Time from a request for a model that went until it is READY, and to its first token: parked, and ended.

Both arms are one roost whose model goes after a moment without a request: in the one it leaves its process parked, in
the other it is ended. Pairs are interleaved; the clock starts with the request, once the model is away. Beside it
stands what the parked process keeps for itself, against what it had.

    python -m benchmarks.park --folder DIR --model ID
    python -m benchmarks.park --folder DIR --model ID --engine vllm-mlx

DIR is searched for the model, ID as `roost models list` shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.arms import roost_up
from benchmarks.cold_start import first_token_s
from benchmarks.measure import spread, verdict
from roost.host.this import this_host, this_memory

#: A wake that is no faster than a start is not worth its code.
LIMIT = 1.0
POLL_S = 0.1
IDLE_S = 0.5
MIB = 2**20


async def worker(session: aiohttp.ClientSession, url: str, model: str) -> dict[str, Any]:
    async with session.get(f"{url}/roost/v1/workers") as response:
        rows = (await response.json())["workers"]
    found: dict[str, Any] = next(row for row in rows if row["model"] == model)
    return found


async def until_away(session: aiohttp.ClientSession, url: str, model: str, state: str) -> dict[str, Any]:
    while True:
        row = await worker(session, url, model)
        if row["state"] == state:
            return row
        await asyncio.sleep(POLL_S)


def private_bytes(pid: int | None) -> int:
    reading = this_memory().process(pid) if pid else None
    return reading.private_bytes if reading else 0


def cpu_s(pid: int | None) -> float:
    """Of the worker's processes; steadier than the wall on a busy machine."""
    host = this_host()
    return host.usage(host.tree(pid)).cpu_s if pid else 0.0


def ratios(arms: dict[str, list[float]]) -> list[float]:
    return [parked / new for parked, new in zip(arms["parked"], arms["new"], strict=True)]


async def report(arms: dict[str, str], model: str, pairs: int) -> None:
    seen: dict[str, list[float]] = {name: [] for name in arms}
    ready: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    had, kept = [], []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1800)) as session:
        for pair in range(pairs):
            for name in sorted(arms, reverse=bool(pair % 2)):
                away = await until_away(session, arms[name], model, "parked" if name == "parked" else "stopped")
                before_s = cpu_s(away["pid"])
                if name == "parked":
                    kept.append(private_bytes(away["pid"]))
                asked_at = time.time()
                seen[name].append(await first_token_s(session, arms[name], model, time.perf_counter()))
                row = await worker(session, arms[name], model)
                pid = row["pid"]
                ready[name].append(row["ready_at"] - asked_at)
                cpu[name].append(cpu_s(pid) - before_s)
                if name == "parked":
                    had.append(private_bytes(pid))
    for name, seconds in seen.items():
        print(f"{name}: s from the request to READY: {spread(ready[name])}, to the first token: {spread(seconds)}")
        print(f"{name}: CPU s of the worker for it: {spread(cpu[name])}")
    print(verdict("parked over new, READY", spread(ratios(ready)), LIMIT))
    print(f"       parked over new, first token: {spread(ratios(seen))}; CPU: {spread(ratios(cpu))}")
    print(f"       MiB for itself: {statistics.median(had) / MIB:.0f} loaded, {max(kept) / MIB:.0f} parked at most")
    print(f"       load average {os.getloadavg()[0]:.1f}")


@contextmanager
def arm(options: argparse.Namespace, *, parks: bool) -> Iterator[str]:
    """Address of one roost."""
    model, engines = options.model, [options.engine] if parks else []
    settings = (
        f'[catalog]\nhuggingface = false\nlm_studio = false\nollama = false\nfolders = ["{options.folder}"]\n'
        f'[coexistence]\nenabled = false\n[park]\nengines = {engines}\n[models."{model}".engine]\n'
        f'name = "{options.engine}"\ncontext = {options.context}\nresume = false\nidle_ttl_s = {IDLE_S}\n'
    )
    with roost_up(settings, {"default": model}) as daemon:
        yield daemon.said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="llama.cpp", choices=["llama.cpp", "vllm-mlx"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with arm(options, parks=True) as parked, arm(options, parks=False) as new:
        asyncio.run(report({"parked": parked, "new": new}, options.model, options.pairs))


if __name__ == "__main__":
    main()

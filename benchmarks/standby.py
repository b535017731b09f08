"""Time to the first token of a request for a model that is not loaded: from a spare, and from a fresh process.

Both arms are one roost: in the one `standby` is on for the engine, in the other it is off. Pairs are interleaved; the
clock starts with the request, and not before the spare of the one arm stands by: its imports would disturb either. The
request is a completion of one word; with `--chat` it is a chat, whose template has some thirty tokens of its own: MLX
computes these for seconds on a Linux CPU, in both arms. There the very first start of each arm also waits for a C++
compiler at its first token (MLX builds a kernel then, which is kept). The time from the start of the worker to READY
stands beside it.

    python -m benchmarks.standby --folder DIR                       mlx-lm
    python -m benchmarks.standby --folder DIR --engine vllm-mlx

The engine's environment must be there (`roost engines install NAME`, or ROOST_ENGINE_…_PYTHON).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.arms import roost_up
from benchmarks.cold_start import first_token_s
from benchmarks.measure import spread, verdict

#: What the ratio promises: about half.
LIMIT = 0.6
POLL_S = 0.2


async def unload(session: aiohttp.ClientSession, url: str, model: str) -> None:
    async with session.post(f"{url}/roost/v1/models/{model}/unload") as response:
        response.raise_for_status()


async def until_standing_by(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.get(f"{url}/roost/v1/workers") as response:
            rows = (await response.json())["spares"]
        if any(row["state"] == "standby" for row in rows):
            return
        await asyncio.sleep(POLL_S)


@dataclass(frozen=True)
class Cold:
    """Seconds of one start on demand."""

    first_token_s: float
    ready_s: float


async def cold(session: aiohttp.ClientSession, url: str, model: str, *, raw: bool) -> Cold:
    """One request for the stopped model, which is stopped again afterwards."""
    first = await first_token_s(session, url, model, time.perf_counter(), raw=raw)
    async with session.get(f"{url}/roost/v1/workers") as response:
        (worker,) = [row for row in (await response.json())["workers"] if row["model"] == model]
    await unload(session, url, model)
    return Cold(first, worker["ready_at"] - worker["started_at"])


async def report(arms: dict[str, str], model: str, pairs: int, *, raw: bool) -> None:
    seen: dict[str, list[Cold]] = {name: [] for name in arms}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1800)) as session:
        for url in arms.values():
            await unload(session, url, model)
        for pair in range(pairs):
            for name in sorted(arms, reverse=bool(pair % 2)):
                await until_standing_by(session, arms["spare"])
                seen[name].append(await cold(session, arms[name], model, raw=raw))
    for name, starts in seen.items():
        print(f"{name}: s from the request to the first token: {spread([one.first_token_s for one in starts])}")
        print(f"{name}: s from the start to READY: {spread([one.ready_s for one in starts])}")
    both = list(zip(seen["spare"], seen["fresh"], strict=True))
    print(verdict("spare over fresh, first token", spread([a.first_token_s / b.first_token_s for a, b in both]), LIMIT))
    print(f"       spare over fresh, READY: {spread([a.ready_s / b.ready_s for a, b in both])}")
    print(f"       load average {os.getloadavg()[0]:.1f}")


@contextmanager
def arm(options: argparse.Namespace, *, standby: bool) -> Iterator[str]:
    """Address of one roost."""
    model = options.folder.name
    settings = (
        f'[catalog]\nhuggingface = false\nlm_studio = false\nollama = false\nfolders = ["{options.folder.parent}"]\n'
        f'[engines.{options.engine}]\nstandby = {str(standby).lower()}\n[models."{model}".engine]\n'
        f'name = "{options.engine}"\nresume = false\n'
    )
    with roost_up(settings, {"default": model}) as daemon:
        yield daemon.said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="mlx-lm", choices=["mlx-lm", "vllm-mlx"])
    parser.add_argument("--folder", type=Path, required=True, help="safetensors folder")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--chat", action="store_true", help="ask with a chat instead of one word")
    options = parser.parse_args()
    with arm(options, standby=True) as spare, arm(options, standby=False) as fresh:
        arms = {"spare": spare, "fresh": fresh}
        asyncio.run(report(arms, options.folder.name, options.pairs, raw=not options.chat))


if __name__ == "__main__":
    main()

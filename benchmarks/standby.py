"""Time to the first token of a request for a model that is not loaded: from a spare, and from a fresh process.

Both arms are one roost: in the one `standby` is on for the engine, in the other it is off. Pairs are interleaved; the
clock starts with the request. In the first arm the spare stands by before. On a Linux CPU both arms also pay for MLX
compiling a kernel at the first token, which no Mac does.

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
            rows = (await response.json())["workers"]
        if any(row["kind"] == "standby" and row["state"] == "standby" for row in rows):
            return
        await asyncio.sleep(POLL_S)


async def from_stop_s(session: aiohttp.ClientSession, url: str, model: str, *, spare: bool) -> float:
    """Seconds from a request for the stopped model to its first token."""
    await unload(session, url, model)
    if spare:
        await until_standing_by(session, url)
    return await first_token_s(session, url, model, time.perf_counter())


async def report(arms: dict[str, str], model: str, pairs: int) -> None:
    seen: dict[str, list[float]] = {name: [] for name in arms}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1800)) as session:
        for pair in range(pairs):
            for name in sorted(arms, reverse=bool(pair % 2)):
                seen[name].append(await from_stop_s(session, arms[name], model, spare=name == "spare"))
                await unload(session, arms[name], model)
    for name, times in seen.items():
        print(f"{name}: s from the request to the first token: {spread(times)}")
    ratios = [a / b for a, b in zip(seen["spare"], seen["fresh"], strict=True)]
    print(verdict("spare over fresh", spread(ratios), LIMIT))
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
    options = parser.parse_args()
    with arm(options, standby=True) as spare, arm(options, standby=False) as fresh:
        asyncio.run(report({"spare": spare, "fresh": fresh}, options.folder.name, options.pairs))


if __name__ == "__main__":
    main()

"""What a hop to a paired roost adds: by way of the laptop, over mutual TLS, against the basement's own endpoint.

Both roosts run on this host, before the same stand-in engine. Blocks of the two ways are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.arms import MODEL, external_settings, roost_up, started
from benchmarks.measure import spread, verdict

_REQUESTS = 150
_PATH = "/v1/chat/completions"
_HEADERS = {"Content-Type": "application/json"}


@contextmanager
def houses() -> Iterator[tuple[str, str]]:
    """The basement's address, and the laptop's, which is paired with it."""
    engine_line = [sys.executable, "-m", "roost.testing.engine", "--model", MODEL]
    with started(engine_line, "stand-in listening on ") as engine:
        settings = external_settings(engine.said)
        door = '[nodes]\nname = "basement"\nlisten = "127.0.0.1:0"\n'
        laptop_own = '[nodes]\nname = "laptop"\n'
        with (
            roost_up(settings + door, {"default": MODEL}) as basement,
            roost_up(settings + laptop_own, {"default": MODEL}) as laptop,
        ):
            assert basement.home is not None and laptop.home is not None
            pair(basement.home, laptop.home)
            yield basement.said, laptop.said


def pair(basement: Path, laptop: Path) -> None:
    """Two running roosts, by their homes."""
    invited = json.loads(_roost(basement, "node", "invite", "--no-wait", "--json"))
    _roost(laptop, "node", "join", invited["code"])


def _roost(home: Path, *arguments: str) -> str:
    env = {**os.environ, "ROOST_HOME": str(home)}
    argv = [sys.executable, "-m", "roost.cli.main", *arguments]
    return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout


def body(model: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "hello " * 40}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


async def request_s(session: aiohttp.ClientSession, url: str, sent: bytes, *, stream: bool) -> float:
    """p50 of the time of a small request, one after another, in seconds: to its end, of a stream to its first chunk."""
    values = []
    for _ in range(_REQUESTS):
        began = time.perf_counter()
        async with session.post(url + _PATH, data=sent, headers=_HEADERS) as response:
            response.raise_for_status()
            await response.content.readany() if stream else await response.read()
            values.append(time.perf_counter() - began)
            await response.read()
    return statistics.median(values)


async def report(basement: str, laptop: str, count: int) -> None:
    async with aiohttp.ClientSession() as session:
        for stream in (False, True):
            ways = [(basement, body(MODEL, stream=stream)), (laptop, body(f"{MODEL}@basement", stream=stream))]
            added: list[float] = []
            direct: list[float] = []
            for block in range(count + 1):
                order = ways if block % 2 else ways[::-1]
                found = {url: await request_s(session, url, sent, stream=stream) for url, sent in order}
                if block:
                    direct.append(1e3 * found[basement])
                    added.append(1e3 * (found[laptop] - found[basement]))
            what = "to the first chunk of a stream" if stream else "whole answer"
            print(f"direct, {what}, ms a request: {spread(direct)}")
            print(verdict(f"added by the hop, {what}, ms at one connection", spread(added), 2.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    with houses() as (basement, laptop):
        asyncio.run(report(basement, laptop, options.blocks))


if __name__ == "__main__":
    main()

"""What roost adds to a request, held against a bare aiohttp pass-through to the same engine in the same run.

Blocks of the three ways (direct, pass-through, roost) are interleaved in changing order, so that a busy moment of the
machine hits all of them. Figures are medians and quartiles over blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import aiohttp

from benchmarks.arms import MODEL, Arms, arms
from benchmarks.measure import percentile, spread, verdict

Measure = Callable[[aiohttp.ClientSession, str], Awaitable[float]]

_BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello " * 40}]}).encode()
_STREAM = json.dumps(
    {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
        "x_stand_in": {"tokens": 100, "token_delay_s": 0.02, "stamp_tokens": True},
    }
).encode()
_HEADERS = {"Content-Type": "application/json"}
_PATH = "/v1/chat/completions"


async def one_connection_s(session: aiohttp.ClientSession, url: str) -> float:
    """p50 of the time of a small request, one after another, in seconds."""
    return statistics.median([await _request_s(session, url) for _ in range(150)])


async def request_rate(session: aiohttp.ClientSession, url: str, connections: int = 16, requests: int = 800) -> float:
    """Requests a second of 16 connections that each send the next one as soon as they have an answer."""
    remaining = iter(range(requests))

    async def client() -> None:
        for _ in remaining:
            await _request_s(session, url)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(client())
    return requests / (time.perf_counter() - started)


async def chunk_p99_s(session: aiohttp.ClientSession, url: str, streams: int = 50) -> float:
    """p99 of the time a chunk takes from the engine's write to the client, 50 streams of 100 chunks, in seconds.

    Each chunk carries the monotonic time at which the engine sent it; that clock is one for the whole machine.
    """
    delays: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(streams):
            tasks.create_task(_stream(session, url, delays))
    return percentile(delays, 0.99)


async def _request_s(session: aiohttp.ClientSession, url: str) -> float:
    started = time.perf_counter()
    async with session.post(url + _PATH, data=_BODY, headers=_HEADERS) as response:
        await response.read()
        response.raise_for_status()
    return time.perf_counter() - started


async def _stream(session: aiohttp.ClientSession, url: str, delays: list[float]) -> None:
    async with session.post(url + _PATH, data=_STREAM, headers=_HEADERS) as response:
        response.raise_for_status()
        async for line in response.content:
            now = time.monotonic_ns()
            delays.extend((now - stamp) / 1e9 for stamp in stamps(line))


def stamps(line: bytes) -> Iterator[int]:
    """When the engine sent what a line of its stream holds, in monotonic nanoseconds."""
    if line.startswith(b"data: {"):
        for choice in json.loads(line[6:])["choices"]:
            if content := choice["delta"].get("content"):
                yield int(content)


async def blocks(measure: Measure, urls: Mapping[str, str], count: int) -> dict[str, list[float]]:
    """`count` values of each way, interleaved; an uncounted one of each comes first."""
    values: dict[str, list[float]] = {name: [] for name in urls}
    names = list(urls)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        for block in range(count + 1):
            for name in names[block % len(names) :] + names[: block % len(names)]:
                value = await measure(session, urls[name])
                if block:
                    values[name].append(value)
    return values


async def report(ways: Arms, count: int) -> None:
    urls = ways.named
    latency = await blocks(one_connection_s, urls, count)
    floor = [a - b for a, b in zip(latency["passthrough"], latency["direct"], strict=True)]
    added = [a - b for a, b in zip(latency["roost"], latency["direct"], strict=True)]
    print(f"direct, ms a request: {spread([1e3 * value for value in latency['direct']])}")
    print(f"added by the pass-through, ms: {spread([1e3 * value for value in floor])}")
    print(f"added by roost, ms: {spread([1e3 * value for value in added])}")
    ratios = [a / b for a, b in zip(added, floor, strict=True)]
    print(verdict("added latency, roost over pass-through", spread(ratios), 1.4))

    rate = await blocks(request_rate, {name: urls[name] for name in ("passthrough", "roost")}, count)
    print(f"requests/s of the pass-through: {spread(rate['passthrough'])}; of roost: {spread(rate['roost'])}")
    ratios = [a / b for a, b in zip(rate["roost"], rate["passthrough"], strict=True)]
    print(verdict("request rate at 16 connections, roost over pass-through", spread(ratios), 0.7, at_most=False))

    chunks = await blocks(chunk_p99_s, urls, count)
    for name, values in chunks.items():
        print(f"p99 from engine to client, ms, {name}: {spread([1e3 * value for value in values])}")
    added = [1e3 * (a - b) for a, b in zip(chunks["roost"], chunks["direct"], strict=True)]
    print(verdict("p99 added a chunk at 50 streams, ms", spread(added), 2.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    with arms() as ways:
        asyncio.run(report(ways, options.blocks))


if __name__ == "__main__":
    main()

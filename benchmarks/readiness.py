"""From the moment an engine could answer to the moment it answers the request that waited for it.

A stand-in engine that notes when its load ended is loaded on demand again and again; the first token of its answer
carries the time at which it was sent. In between lie roost's question, the proof of weights, and sending the request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import aiohttp

from benchmarks.arms import roost_up
from benchmarks.measure import spread, verdict
from benchmarks.overhead import stamps

_MODEL = "stand-in"
_SETTINGS = f"""
[catalog]
huggingface = false
lm_studio = false
ollama = false

[models."{_MODEL}".command]
cmd = "{sys.executable} -m roost.testing.engine --model {_MODEL} --port ${{PORT}} --load-s 0.3"
"""


async def noticed_ms(session: aiohttp.ClientSession, url: str) -> float:
    """Loads the model by a request, unloads it again; milliseconds from its load to its first token."""
    body = {
        "model": _MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "x_stand_in": {"tokens": 1, "stamp_tokens": True},
    }
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        sent_at_ns = next(stamp for line in (await response.read()).splitlines() for stamp in stamps(line))
    async with session.get(f"{url}/upstream/{_MODEL}/stand-in/info") as response:
        loaded_at_ns = json.loads(await response.read())["loaded_at_ns"]
    async with session.post(f"{url}/roost/v1/models/{_MODEL}/unload") as response:
        response.raise_for_status()
    return (sent_at_ns - loaded_at_ns) / 1e6


async def report(url: str, loads: int) -> None:
    async with aiohttp.ClientSession() as session:
        await noticed_ms(session, url)
        values = [await noticed_ms(session, url) for _ in range(loads)]
    print(verdict("from loaded to the waiting request's first token, ms", spread(values), 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=20)
    options = parser.parse_args()
    with roost_up(_SETTINGS, {"default": _MODEL}) as daemon:
        asyncio.run(report(daemon.said, options.loads))


if __name__ == "__main__":
    main()

"""Time to the first token of a conversation's next turn after its model was away: resumed, and computed anew.

Both arms are one roost: in the one `resume` is on for the model, in the other it is off. Pairs are interleaved; each
pair unloads, loads, waits for READY and then asks. The ratio is that of the times counted from READY; the time from
the beginning of the unload to the first token stands beside it.

    python -m benchmarks.resume                                   llama.cpp, 3,000 tokens
    python -m benchmarks.resume --engine vllm-mlx --folder DIR --tokens 500

vllm-mlx needs its environment (`roost engines install vllm-mlx`, or ROOST_ENGINE_VLLM_MLX_PYTHON).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.arms import roost_up
from benchmarks.measure import spread, verdict
from roost.catalog.compose import EMBEDDED_ID

#: What the ratio promises.
LIMIT = 0.05
#: Each digit is a token.
SENTENCE = "The bird sat on tree number {}. "
SENTENCE_TOKENS = 12
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Away:
    """Seconds to the first token of the turn after the model was away."""

    from_ready: float
    from_stop: float


def conversation(tokens: int, seed: int) -> Messages:
    """Its words are no beginning of another's."""
    text = "".join(SENTENCE.format(seed * 1000 + number) for number in range(tokens // SENTENCE_TOKENS))
    return [{"role": "system", "content": f"Story {seed}. {text}"}, {"role": "user", "content": "Where is it?"}]


async def first_token_s(session: aiohttp.ClientSession, url: str, model: str, messages: Messages) -> float:
    """Streams a short reply to its end; seconds to its first text. The reply joins the conversation."""
    body = {"model": model, "messages": messages, "stream": True, "max_tokens": 4, "temperature": 0}
    started_at, first, reply = time.perf_counter(), None, ""
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for event in events(response):
            for choice in event.get("choices", ()):
                text = choice.get("delta", {}).get("content")
                first = first or (time.perf_counter() - started_at if text else None)
                reply += text or ""
    if first is None:
        raise SystemExit("the stream ended without a token")
    messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "And where is it now?"}]
    return first


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


async def order(session: aiohttp.ClientSession, url: str, model: str, what: str) -> None:
    async with session.post(f"{url}/roost/v1/models/{model}/{what}") as response:
        response.raise_for_status()


async def away(session: aiohttp.ClientSession, url: str, model: str, messages: Messages) -> Away:
    """A turn, then the model goes and comes back, then the next turn."""
    await first_token_s(session, url, model, messages)
    stopped_at = time.perf_counter()
    await order(session, url, model, "unload")
    await order(session, url, model, "load")
    ready_s = time.perf_counter() - stopped_at
    from_ready = await first_token_s(session, url, model, messages)
    return Away(from_ready, ready_s + from_ready)


async def report(arms: dict[str, tuple[str, str]], tokens: int, pairs: int) -> None:
    seen: dict[str, list[Away]] = {name: [] for name in arms}
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for pair in range(pairs):
            for name in sorted(arms, reverse=bool(pair % 2)):
                seen[name].append(await away(session, *arms[name], conversation(tokens, pair + 1)))
                await order(session, *arms[name], "unload")
    for name, times in seen.items():
        print(f"{name}: s to the first token, from READY: {spread([t.from_ready for t in times])}")
        print(f"{name}: s to the first token, from the stop: {spread([t.from_stop for t in times])}")
    both = list(zip(seen["resumed"], seen["anew"], strict=True))
    print(verdict("resumed over anew, from READY", spread([a.from_ready / b.from_ready for a, b in both]), LIMIT))
    print(f"       resumed over anew, from the stop: {spread([a.from_stop / b.from_stop for a, b in both])}")


def settings(model: str, engine: str, folder: Path | None, *, resume: bool) -> str:
    folders = f'folders = ["{folder}"]\n' if folder else ""
    return (
        f"[catalog]\nhuggingface = false\nlm_studio = false\nollama = false\n{folders}"
        f'[models."{model}".engine]\nname = "{engine}"\nresume = {str(resume).lower()}\n'
    )


@contextmanager
def arm(options: argparse.Namespace, *, resume: bool) -> Iterator[tuple[str, str]]:
    """Address and model of one roost."""
    model = options.folder.name if options.folder else EMBEDDED_ID
    parent = options.folder.parent if options.folder else None
    text = settings(model, options.engine, parent, resume=resume)
    with roost_up(text, {"default": model}, models=options.models) as daemon:
        yield daemon.said, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="llama.cpp", choices=["llama.cpp", "vllm-mlx"])
    parser.add_argument("--folder", type=Path, help="safetensors folder for vllm-mlx")
    parser.add_argument("--tokens", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models", help="kept between runs")
    options = parser.parse_args()
    if (options.engine == "vllm-mlx") != (options.folder is not None):
        parser.error("--folder names the model of vllm-mlx, and only that")
    with arm(options, resume=True) as resumed, arm(options, resume=False) as anew:
        asyncio.run(report({"resumed": resumed, "anew": anew}, options.tokens, options.pairs))


if __name__ == "__main__":
    main()

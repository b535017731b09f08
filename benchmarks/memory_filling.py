"""Fills a worker as far as it lets itself be filled, so that its peak is that of a full start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.memory_slots import SavedSlot
from benchmarks.memory_subject import Case, Worker

#: Tokens of each reply.
_REPLY_TOKENS = 4
#: Left of the window beyond prompts and replies.
_SLACK_TOKENS = 24
#: Inputs to embed in one step: the longest that the worker takes counts.
_EMBEDDED_TOKENS = range(2048, 511, -128)
#: The slot that is computed, and repeated.
_SEED_TOKENS = 48
#: Cached prompts have so many tokens.
_CACHED_TOKENS = 1024
#: Token ids that every vocabulary has.
_FIRST_ID, _IDS = 300, 10_000


@dataclass(frozen=True)
class Filling:
    """What was reached, in tokens."""

    #: Of all sequences in the window together, at the end.
    window: int
    #: Of the longest input that was embedded; 0: the engine embeds nothing.
    embedded: int
    #: Prompts that the cache was given.
    cached: int


async def fill(case: Case, worker: Worker, kv_bytes_per_token: int) -> Filling:
    """One step of embeddings, the cache of prompts to its cap, the window of all sequences at once."""
    timeout = aiohttp.ClientTimeout(total=3600)
    if case.engine != "llama.cpp":
        async with aiohttp.ClientSession(base_url=worker.url, timeout=timeout) as session:
            return await _MlxFilling(session, case).fill(kv_bytes_per_token)
    connector = aiohttp.UnixConnector(str(worker.socket), force_close=True)
    async with aiohttp.ClientSession(base_url="http://worker", connector=connector, timeout=timeout) as session:
        return await _LlamaFilling(session, case, worker.saved).fill(kv_bytes_per_token)


class _LlamaFilling:
    """Speaks to the worker itself: only there slots can be restored."""

    def __init__(self, session: aiohttp.ClientSession, case: Case, saved: Path) -> None:
        self._session, self._case, self._saved = session, case, saved

    async def fill(self, kv_bytes_per_token: int) -> Filling:
        embedded = await self._embed()
        slot = await self._seed()
        cached = await self._fill_cache(slot, kv_bytes_per_token)
        window = await self._fill_window(slot, embedded)
        return Filling(window, embedded, cached)

    async def _embed(self) -> int:
        for count in _EMBEDDED_TOKENS:
            body = {"model": self._case.model, "input": _tokens(count - 1, 5)}
            async with self._session.post("/v1/embeddings", json=body) as answer:
                if answer.status == 200:
                    return int((await answer.json())["usage"]["prompt_tokens"])
        raise SystemExit(f"{self._case.name}: it embeds nothing")

    async def _seed(self) -> SavedSlot:
        await self._complete(_tokens(_SEED_TOKENS, 1), slot=0)
        await self._slot(0, "save", "seed.bin")
        return SavedSlot.parse((self._saved / "seed.bin").read_bytes())

    async def _fill_cache(self, slot: SavedSlot, kv_bytes_per_token: int) -> int:
        """A slot that is given another prompt leaves its old one to the cache."""
        case = self._case
        size = min(_CACHED_TOKENS, case.context // 4)
        count = case.cache_mib * 2**20 // (size * kv_bytes_per_token) + 3
        for number in range(count):
            await self._restore(slot, 0, _tokens(size, 100 + number))
            await self._complete(_tokens(8, 2000 + number), slot=0)
        return count

    async def _fill_window(self, slot: SavedSlot, step: int) -> int:
        """All but the last step of each sequence is restored, the rest computed, by all of them at once."""
        case = self._case
        each = case.context // case.sequences - _REPLY_TOKENS - _SLACK_TOKENS
        computed = min(max(step // case.sequences, 1) + 16, each - 1)
        prompts = [_tokens(each, 5000 + number) for number in range(case.sequences)]
        for number, prompt in enumerate(prompts):
            await self._restore(slot, number, prompt[: each - computed])
        counts = [self._complete(prompt, slot=number) for number, prompt in enumerate(prompts)]
        return sum(await asyncio.gather(*counts))

    async def _restore(self, slot: SavedSlot, number: int, tokens: list[int]) -> None:
        (self._saved / "fill.bin").write_bytes(slot.repeated(tokens))
        await self._slot(number, "restore", "fill.bin")

    async def _slot(self, number: int, action: str, name: str) -> None:
        url, body = f"/slots/{number}?action={action}", {"filename": name}
        async with self._session.post(url, json=body) as answer:
            if answer.status != 200:
                raise SystemExit(f"{self._case.name}: {action}: {answer.status} {await answer.text()}")

    async def _complete(self, tokens: list[int], slot: int) -> int:
        """Prompt and reply, in tokens."""
        body = {"prompt": tokens, "n_predict": _REPLY_TOKENS, "id_slot": slot, "cache_prompt": True, "temperature": 0}
        async with self._session.post("/completion", json=body) as answer:
            if answer.status != 200:
                raise SystemExit(f"{self._case.name}: {answer.status} {await answer.text()}")
            timings = (await answer.json())["timings"]
        return int(timings["cache_n"] + timings["prompt_n"] + timings["predicted_n"])


class _MlxFilling:
    """Through roost: prompts of words, each sequence with a window of its own."""

    def __init__(self, session: aiohttp.ClientSession, case: Case) -> None:
        self._session, self._case = session, case

    async def fill(self, kv_bytes_per_token: int) -> Filling:
        case = self._case
        per_word = await self._complete(_text(200, 77)) / 200
        size = case.context // 4
        count = case.cache_mib * 2**20 * case.sequences // (size * kv_bytes_per_token) + 2
        for number in range(count):
            await self._complete(_text(int(size / per_word), number))
        words = int((case.context - 2 * _SLACK_TOKENS) / per_word)
        prompts = [_text(words, 1000 + number) for number in range(case.sequences)]
        return Filling(sum(await asyncio.gather(*map(self._complete, prompts))), 0, count)

    async def _complete(self, prompt: str) -> int:
        body: dict[str, Any] = {"model": self._case.model, "prompt": prompt, "max_tokens": _REPLY_TOKENS}
        async with self._session.post("/v1/completions", json=body) as answer:
            if answer.status != 200:
                raise SystemExit(f"{self._case.name}: {answer.status} {await answer.text()}")
            return int((await answer.json())["usage"]["total_tokens"])


def _tokens(count: int, seed: int) -> list[int]:
    """Different from the first on for each seed."""
    return [_FIRST_ID + (seed * 131 + index * (2 * seed + 7)) % _IDS for index in range(count)]


_WORDS = ("river", "stone", "cloud", "table", "green", "seven", "paper", "light", "north", "music", "bread", "glass")


def _text(words: int, seed: int) -> str:
    return "".join(f" {_WORDS[(seed * 7 + index * (seed + 3) + index // 12) % len(_WORDS)]}" for index in range(words))

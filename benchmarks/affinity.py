"""How much of a conversation its engine still has at the next turn, with more conversations than slots, through roost.

Every conversation has words of its own. In each turn all of them ask at once, in another order each time; roost sends
as many as the engine has slots and queues the rest. Counted are the prompt tokens of turns 2 and later, and how many
of them the engine took from its cache, by its own count. What could be reused is what the turn before left behind.

Beside it stands the same load on a fresh process of the same command, asked over its own socket: there the engine
queues for itself.

    python -m benchmarks.affinity
    python -m benchmarks.affinity --engine mlx-lm --folder DIR --tokens 48 --turns 3
    python -m benchmarks.affinity --engine vllm-mlx --folder DIR --tokens 160 --turns 2 --conversations 4 --slots 2

The MLX engines need their environment (`roost engines install NAME`, or ROOST_ENGINE_…_PYTHON) and short prompts on a
CPU; vllm-mlx keeps nothing below 128 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.arms import roost_up
from roost.catalog.compose import EMBEDDED_ID

#: What the share promises.
LIMIT = 0.9
SENTENCE = "The bird sat on tree number {}. "
SENTENCE_TOKENS = 12


@dataclass(frozen=True)
class Turn:
    """Tokens of one turn of all conversations together."""

    prompt: int
    cached: int
    #: What the turn before left behind: the most that can be cached.
    known: int


@dataclass
class Conversation:
    messages: list[dict[str, str]]
    #: Tokens after the last turn, its answer included.
    tokens: int = 0

    @classmethod
    def begin(cls, number: int, tokens: int) -> Conversation:
        text = "".join(SENTENCE.format(number * 1000 + i) for i in range(tokens // SENTENCE_TOKENS))
        return cls([{"role": "system", "content": f"Story {number}. {text}"}])


@dataclass(frozen=True)
class Client:
    session: aiohttp.ClientSession
    url: str
    model: str
    engine: str
    #: Where the engine's own routes begin.
    own: str

    async def ask(self, talk: Conversation, question: str) -> Turn:
        """One question and its answer, which both join the conversation."""
        talk.messages.append({"role": "user", "content": question})
        body = {"model": self.model, "messages": talk.messages, "max_tokens": 8, "temperature": 0}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            told = await response.json()
        talk.messages.append({"role": "assistant", "content": told["choices"][0]["message"]["content"] or ""})
        usage, known = told["usage"], talk.tokens
        talk.tokens = usage["prompt_tokens"] + usage["completion_tokens"]
        return Turn(usage["prompt_tokens"], cached_tokens(told), known)

    async def saved_tokens(self) -> int:
        """vllm-mlx tells no request what came from its cache, but counts it."""
        if self.engine != "vllm-mlx":
            return 0
        async with self.session.get(f"{self.own}/v1/cache/stats") as response:
            response.raise_for_status()
            return int((await response.json())["engine_cache"]["tokens_saved"])

    async def turn(self, talks: list[Conversation], question: str) -> Turn:
        """All of them at once."""
        before = await self.saved_tokens()
        turns = await asyncio.gather(*(self.ask(talk, question) for talk in talks))
        counted = await self.saved_tokens() - before
        cached = sum(one.cached for one in turns) + counted
        return Turn(sum(one.prompt for one in turns), cached, sum(one.known for one in turns))


def cached_tokens(told: dict[str, Any]) -> int:
    """By the engine's own count."""
    details, timings = told["usage"].get("prompt_tokens_details") or {}, told.get("timings") or {}
    return int(details.get("cached_tokens", timings.get("cache_n", 0)) or 0)


async def converse(client: Client, options: argparse.Namespace) -> list[Turn]:
    talks = [Conversation.begin(number + 1, options.tokens) for number in range(options.conversations)]
    order, turns = random.Random(1), []
    await client.ask(Conversation.begin(0, 0), "Are you there?")  # it is loaded by then
    for number in range(options.turns):
        turns.append(await client.turn(order.sample(talks, len(talks)), f"Question {number}: where is it?"))
    return turns


async def fresh_socket(session: aiohttp.ClientSession, url: str, model: str) -> str:
    """Starts the worker anew, with nothing in its cache; the path of its own socket."""
    for order in ("unload", "load"):
        async with session.post(f"{url}/roost/v1/models/{model}/{order}") as response:
            response.raise_for_status()
    async with session.get(f"{url}/roost/v1/workers") as response:
        (worker,) = [row for row in (await response.json())["workers"] if row["model"] == model]
    sockets = {str(socket.laddr) for socket in psutil.Process(worker["pid"]).net_connections("unix")}
    (path,) = (path for path in sockets if path.endswith(".sock"))  # the other one takes commands
    return path


async def both(url: str, model: str, options: argparse.Namespace) -> dict[str, list[Turn]]:
    """Through roost, then directly."""
    patience = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(timeout=patience) as session:
        client = Client(session, url, model, options.engine, f"{url}/upstream/{model}")
        through = await converse(client, options)
        connector = aiohttp.UnixConnector(await fresh_socket(session, url, model))
    async with aiohttp.ClientSession("http://engine", connector=connector, timeout=patience) as session:
        return {"roost": through, "direct": await converse(Client(session, "", model, options.engine, ""), options)}


def report(arms: dict[str, list[Turn]], options: argparse.Namespace) -> None:
    for name, turns in arms.items():
        for number, turn in enumerate(turns, 1):
            print(f"{name}, turn {number}: {turn.cached / turn.prompt:.1%} of {turn.prompt} prompt tokens cached")
    reused, of_all = {}, {}
    for name, turns in arms.items():
        cached = sum(turn.cached for turn in turns[1:])
        reused[name] = cached / sum(turn.known for turn in turns[1:])
        of_all[name] = cached / sum(turn.prompt for turn in turns[1:])
    print(
        f"{'holds' if reused['roost'] >= LIMIT else 'FAILS'}  {options.engine}, {options.conversations} conversations "
        f"on {options.slots} slots, turns 2 to {options.turns}: {reused['roost']:.1%} of what was known was reused; "
        f"promised >= {LIMIT:.0%}; directly {reused['direct']:.1%}"
    )
    print(
        f"       {of_all['roost']:.1%} of all prompt tokens, directly {of_all['direct']:.1%}; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="llama.cpp", choices=["llama.cpp", "mlx-lm", "vllm-mlx"])
    parser.add_argument("--folder", type=Path, help="safetensors folder for an MLX engine")
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=600, help="length of each system prompt")
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models", help="kept between runs")
    options = parser.parse_args()
    if (options.engine == "llama.cpp") != (options.folder is None):
        parser.error("--folder names the model of an MLX engine, and only that")
    model = options.folder.name if options.folder else EMBEDDED_ID
    folders = f'folders = ["{options.folder.parent}"]\n' if options.folder else ""
    settings = (
        f"[catalog]\nhuggingface = false\nlm_studio = false\nollama = false\n{folders}"
        f'[models."{model}".engine]\nname = "{options.engine}"\nmax_sequences = {options.slots}\nresume = false\n'
    )
    with roost_up(settings, {"default": model}, models=options.models) as daemon:
        report(asyncio.run(both(daemon.said, model, options)), options)


if __name__ == "__main__":
    main()

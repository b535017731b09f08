"""How much of their prompts conversations find in a cache while they share two paired machines with real models.

A role has both machines as candidates, and each new conversation goes where nobody waits. In each turn all of them ask
at once, in another order each time. In one arm roost knows them again by how they begin; in the other every request
names a conversation of its own, so that each turn goes wherever there is room. Counted are the prompt tokens of turns 2
and later, and how many of them llama.cpp took from its cache, by its own count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import uuid
from pathlib import Path

import aiohttp

from benchmarks.affinity import Conversation, cached_tokens
from benchmarks.arms import roost_up
from benchmarks.hop import pair
from roost.catalog.compose import EMBEDDED_ID

LIMIT = 0.95
SETTINGS = f"""
[catalog]
huggingface = false
lm_studio = false
ollama = false

[queue]
max_wait_s = 600

[models."{EMBEDDED_ID}".engine]
name = "llama.cpp"
max_sequences = 4
resume = false
"""
BASEMENT = '[nodes]\nname = "basement"\nlisten = "127.0.0.1:0"\nlook_every_s = 0.2\n'
LAPTOP = """
[nodes]
name = "laptop"
look_every_s = 0.2

[roles.coding]
candidates = [{ to = "local", most_waiting = 1 }, "basement/default"]
"""


async def ask(session: aiohttp.ClientSession, url: str, talk: Conversation, *, knows: bool) -> tuple[int, int, str]:
    """One turn: known tokens of the prompt, those from the cache, and the machine."""
    talk.messages.append({"role": "user", "content": "Where is it?"})
    body = {"model": "coding", "messages": talk.messages, "max_tokens": 8, "temperature": 0}
    headers = {} if knows else {"x-conversation-id": uuid.uuid4().hex}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        response.raise_for_status()
        told = await response.json()
        node = response.headers["x-roost-node"]
    talk.messages.append({"role": "assistant", "content": told["choices"][0]["message"]["content"] or ""})
    known, talk.tokens = talk.tokens, told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
    return known, cached_tokens(told), node


async def arm(url: str, options: argparse.Namespace, first: int, *, knows: bool) -> float:
    """The share of known tokens that came from a cache, over turns 2 and later."""
    talks = [Conversation.begin(first + number, options.tokens) for number in range(options.conversations)]
    order, known, cached = random.Random(first), 0, 0
    nodes: list[str] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3600)) as session:
        for turn in range(options.turns):
            asked = order.sample(talks, len(talks))
            found = await asyncio.gather(*(ask(session, url, talk, knows=knows) for talk in asked))
            nodes += [node for _, _, node in found]
            if turn:
                known += sum(one[0] for one in found)
                cached += sum(one[1] for one in found)
    share = cached / known
    where = ", ".join(f"{nodes.count(node)} at {node}" for node in sorted(set(nodes)))
    print(f"{'kept' if knows else 'each on its own'}: {share:.1%} of what was known was cached; turns {where}")
    return share


async def report(url: str, options: argparse.Namespace) -> None:
    shares: dict[bool, list[float]] = {True: [], False: []}
    for block in range(options.blocks):
        for knows in (True, False) if block % 2 else (False, True):
            first = 1 + 1000 * (2 * block + knows)
            shares[knows].append(await arm(url, options, first, knows=knows))
    kept, alone = (min(shares[True]), max(shares[False]))
    print(
        f"{'holds' if kept >= LIMIT else 'FAILS'}  {options.conversations} conversations on two machines: at least "
        f"{kept:.1%} cached when kept, promised >= {LIMIT:.0%}; at most {alone:.1%} when each turn goes on its own; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=6)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=400, help="length of each system prompt")
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models", help="kept between runs")
    options = parser.parse_args()
    roles = {"default": EMBEDDED_ID, "coding": EMBEDDED_ID}
    with (
        roost_up(BASEMENT + SETTINGS, roles, options.models) as basement,
        roost_up(SETTINGS + LAPTOP, roles, options.models) as laptop,
    ):
        assert basement.home is not None and laptop.home is not None
        pair(basement.home, laptop.home)
        asyncio.run(report(laptop.said, options))


if __name__ == "__main__":
    main()

"""The same conversation meets its own cache again, with more conversations than slots: llama.cpp for real."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.conftest import Roost

#: Of the prompt tokens of later turns; without a cache it is nothing, measured were 90 % and more.
FLOOR = 0.8
CONVERSATIONS, SLOTS, TURNS = 6, 2, 3


@pytest.mark.thorough
def test_more_conversations_than_slots_keep_their_caches_without_any_hint(roost: Roost) -> None:
    roost.settings(f"[engine]\nmax_sequences = {SLOTS}\nresume = false\n")
    client = roost.start().client()
    talks: list[list[Any]] = [
        [{"role": "system", "content": f"Story {n}. " + f"Bird {n} sat on tree {n * 7}. " * 25}]
        for n in range(CONVERSATIONS)
    ]

    def turn(talk: list[Any]) -> tuple[int, int]:
        """One question and its answer; prompt tokens, and those that llama.cpp had in its cache."""
        talk.append({"role": "user", "content": "Where is the bird?"})
        told = client.chat.completions.create(model="default", messages=talk, max_tokens=6, temperature=0)
        talk.append({"role": "assistant", "content": told.choices[0].message.content or ""})
        timings: dict[str, Any] = (told.model_extra or {})["timings"]
        assert told.usage
        return told.usage.prompt_tokens, int(timings["cache_n"])

    counted: list[tuple[int, int]] = []
    with ThreadPoolExecutor(CONVERSATIONS) as together:
        for number in range(TURNS):
            # In another order each time, so that no conversation has a slot by its place in line.
            told = list(together.map(turn, talks[number * 2 :] + talks[: number * 2]))
            counted += told if number else []
    share = sum(cached for _, cached in counted) / sum(prompt for prompt, _ in counted)
    assert share >= FLOOR, f"{share:.0%} of the prompt tokens of later turns came from the cache"

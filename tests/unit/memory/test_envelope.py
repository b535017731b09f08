"""Requests against what a worker's cache was admitted with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.memory.envelope import Envelope, Passage, envelope_of, passage, tokens_asked
from tests.unit.memory.specs import llama_shape, mlx_shape

POOL = envelope_of(llama_shape(8192, 4, unified=True))
SLOTS = envelope_of(llama_shape(2048, 4))
BATCH = envelope_of(mlx_shape(2048, 4))


@pytest.mark.parametrize(
    ("envelope", "running", "asked", "expected"),
    [
        (POOL, [], 8192, Passage.TAKE),
        (POOL, [], 8193, Passage.TOO_LONG),
        (POOL, [4096], 4096, Passage.TAKE),
        (POOL, [4096], 4097, Passage.WAIT),
        (POOL, [1, 1, 1, 1], 1, Passage.WAIT),
        (SLOTS, [2048, 2048, 2048], 2048, Passage.TAKE),
        (SLOTS, [], 2049, Passage.TOO_LONG),
        (BATCH, [2048, 2048, 2048], 2048, Passage.TAKE),
        (Envelope(8, 2048, 8192, is_rectangular=True), [100, 100, 100, 100], 2048, Passage.WAIT),
        (Envelope(8, 2048, 8192, is_rectangular=True), [100, 100, 100], 2048, Passage.TAKE),
    ],
)
def test_a_request_is_taken_waits_or_never_fits(
    envelope: Envelope, running: list[int], asked: int, expected: Passage
) -> None:
    assert passage(envelope, running, asked) is expected


@pytest.mark.parametrize(("prompt", "max_tokens", "expected"), [(100, None, 2048), (100, 50, 150), (3000, None, 3000)])
def test_a_request_without_a_limit_may_go_on_to_the_cap(prompt: int, max_tokens: int | None, expected: int) -> None:
    assert tokens_asked(prompt, max_tokens, 2048) == expected


@given(st.sampled_from([POOL, SLOTS, BATCH]), st.lists(st.integers(1, 9000), max_size=30))
def test_what_was_taken_never_needs_more_than_was_admitted(envelope: Envelope, asked: list[int]) -> None:
    running: list[int] = []
    for tokens in asked:
        if passage(envelope, running, tokens) is Passage.TAKE:
            running.append(tokens)
    assert len(running) <= envelope.sequences
    used = len(running) * max(running, default=0) if envelope.is_rectangular else sum(running)
    assert used <= envelope.together


@given(st.sampled_from([POOL, SLOTS, BATCH]), st.integers(1, 9000))
def test_an_idle_worker_makes_nobody_wait(envelope: Envelope, tokens: int) -> None:
    assert passage(envelope, [], tokens) is not Passage.WAIT

"""Tiers and decoding rates, computed from sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.catalog.spec import WeightsShape
from roost.memory.budget import GIB
from roost.memory.speed import active_bytes, decode_rate
from roost.memory.tiers import Room, Tier, standing
from tests.unit.memory.specs import QWEN3_MOE, folder

HERE = Room(12 * GIB, 15 * GIB)


@pytest.mark.parametrize(
    ("need_gib", "others_gib", "expected"),
    [
        (12, (), Tier.INTERACTIVE),
        (13, (), Tier.OVERNIGHT),
        (16, (), Tier.NONE),
        (16, (8,), Tier.SHARD),
        (22, (8,), Tier.SHARD),
        (23, (8,), Tier.NONE),
        (40, (8, 64), Tier.SHARD),
    ],
)
def test_a_tier_follows_from_the_sizes(need_gib: int, others_gib: tuple[int, ...], expected: Tier) -> None:
    found = standing(need_gib * GIB, HERE, [size * GIB for size in others_gib], each_bytes=GIB)
    assert found.tier is expected
    assert f"{need_gib}.0 GiB with its caches full" in found.reason


def test_as_few_machines_as_possible_share_it() -> None:
    assert "on 2 machines" in standing(40 * GIB, HERE, [8 * GIB, 64 * GIB, 32 * GIB]).reason


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.lists(st.integers(0, 10**12)))
def test_a_larger_model_never_stands_better(need: int, more: int, day: int, others: list[int]) -> None:
    order = [Tier.INTERACTIVE, Tier.OVERNIGHT, Tier.SHARD, Tier.NONE]
    room = Room(day, day + 10**10)
    small, large = standing(need, room, others), standing(need + more, room, others)
    assert order.index(small.tier) <= order.index(large.tier)


MOE = folder(QWEN3_MOE, weights_bytes=17 * 10**9)


def with_weights(**fields: object) -> int | None:
    return active_bytes(MOE.model_copy(update={"weights": WeightsShape.model_validate(fields)}))


def test_of_experts_only_those_that_work_are_read() -> None:
    found = with_weights(expert_bytes=16 * 10**9, experts=128, experts_used=8, embedding_bytes=10**8)
    assert found == 17 * 10**9 - 15 * 10**9 - 10**8


def test_tied_embeddings_are_read_for_the_output() -> None:
    assert with_weights(embedding_bytes=10**8, tied=True) == 17 * 10**9


@pytest.mark.parametrize("used", [None, 0, 999])
def test_experts_of_which_nobody_knows_how_many_work_tell_no_rate(used: int | None) -> None:
    assert with_weights(expert_bytes=10**9, experts=128, experts_used=used) is None


def test_a_rate_is_bandwidth_over_what_a_token_reads_and_says_so() -> None:
    weights = WeightsShape(expert_bytes=16 * 10**9, experts=128, experts_used=8)
    rate = decode_rate(MOE.model_copy(update={"weights": weights}), 10**9, 300e9, "as Apple specifies")
    assert rate is not None
    assert rate.tokens_per_s == pytest.approx(100)
    assert rate.basis == "2.0 GB of 17.0 GB weights and 1.0 GB cache a token, at 300.0 GB/s as Apple specifies"


def test_without_a_bandwidth_there_is_no_rate() -> None:
    assert decode_rate(MOE, 0, None, "") is None

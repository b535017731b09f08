"""Tiers and decoding rates, computed from sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.catalog.spec import WeightsShape
from roost.memory.budget import GIB, HOST, Budget
from roost.memory.needs import Amount, Basis, Need
from roost.memory.speed import active_bytes, decode_rate
from roost.memory.tiers import Tier, standing
from tests.unit.memory.specs import QWEN3_MOE, folder


def machine(day_gib: float, night_gib: float, *gpus_gib: float) -> tuple[dict[str, Budget], dict[str, Budget]]:
    """Budgets by day and by night; nothing is free now, which a tier does not ask."""
    gpus = {f"g{n}": Budget(f"g{n}", 0, 0, 0, round(size * GIB)) for n, size in enumerate(gpus_gib)}
    day, night = ({HOST: Budget(HOST, 0, 0, 0, round(size * GIB)), **gpus} for size in (day_gib, night_gib))
    return day, night


HERE = machine(12, 15)


def on_host(size: int) -> Need:
    return Need(Basis.DRY_RUN, Amount(size))


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
    found = standing(on_host(need_gib * GIB), *HERE, [size * GIB for size in others_gib], each_bytes=GIB)
    assert found.tier is expected
    assert f"{need_gib}.0 GiB with its caches full" in found.reason


def test_as_few_machines_as_possible_share_it() -> None:
    assert "on 2 machines" in standing(on_host(40 * GIB), *HERE, [8 * GIB, 64 * GIB, 32 * GIB]).reason


def test_on_gpus_each_side_must_have_room() -> None:
    need = Need(Basis.DRY_RUN, Amount(GIB), Amount(60 * GIB))
    assert standing(need, *machine(12, 15, 80)).tier is Tier.INTERACTIVE
    assert standing(need, *machine(12, 15, 40, 40)).tier is Tier.INTERACTIVE
    assert standing(need, *machine(64, 64)).tier is Tier.NONE
    assert standing(Need(Basis.DRY_RUN, Amount(13 * GIB), Amount(GIB)), *machine(12, 15, 80)).tier is Tier.OVERNIGHT


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 900), st.lists(st.integers(0, 10**12)))
def test_a_larger_model_never_stands_better(need: int, more: int, day_gib: int, others: list[int]) -> None:
    order = [Tier.INTERACTIVE, Tier.OVERNIGHT, Tier.SHARD, Tier.NONE]
    room = machine(day_gib, day_gib + 10)
    small, large = standing(on_host(need), *room, others), standing(on_host(need + more), *room, others)
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

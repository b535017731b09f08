"""The strongest means that a machine has."""

from __future__ import annotations

import pytest

from roost.memory.lines import Lines
from roost.memory.means import Abilities, Means, held_by, means_for

LINUX, DELEGATED, MAC = Abilities(data_limit=True, cpus=8), Abilities(groups=True, data_limit=True), Abilities()


@pytest.mark.parametrize(
    ("abilities", "device", "means"),
    [
        (DELEGATED, "cpu", Means.GROUP),
        (DELEGATED, "cuda", Means.GROUP),
        (DELEGATED, None, Means.GROUP),
        (LINUX, "cpu", Means.DATA_LIMIT),
        (LINUX, "cuda", Means.WATCH),
        (LINUX, None, Means.WATCH),
        (MAC, "cpu", Means.WATCH),
        (MAC, "metal", Means.WATCH),
    ],
)
def test_a_group_is_better_than_a_limit_and_a_limit_better_than_a_watch(
    abilities: Abilities, device: str | None, means: Means
) -> None:
    assert means_for(abilities, device=device) is means
    assert means_for(abilities, device=device, in_container=True) is Means.WATCH


def test_the_kernels_limit_stands_behind_the_guardians_and_leaves_room_for_what_is_only_reserved() -> None:
    lines = Lines(15, 2**30, 0, 0)
    assert held_by(Means.WATCH, lines, LINUX) == lines == held_by(Means.GROUP, lines, LINUX)
    limited = held_by(Means.DATA_LIMIT, lines, LINUX)
    assert limited.data_bytes == 2**30 + 2**30 + 8 * 16 * 2**20

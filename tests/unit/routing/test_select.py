"""Which target a selector means, by how its targets stand."""

from __future__ import annotations

import pytest

from roost.config.settings import Strategy
from roost.routing.select import Stage, Target, select

READY, COMING, LEAVING, COLD = Stage.READY, Stage.COMING, Stage.LEAVING, Stage.COLD


def chosen(strategy: Strategy, *stands: tuple[Stage, int], spillover: int = 1) -> str:
    """Targets a, b, c in order; the name of the one that was chosen."""
    targets = [Target(name, stage, requests) for name, (stage, requests) in zip("abc", stands, strict=False)]
    return select(strategy, targets, spillover).name


@pytest.mark.parametrize(
    ("stages", "name"),
    [
        ((COLD, COLD, COLD), "a"),
        ((COLD, READY, READY), "b"),
        ((COMING, READY, COLD), "b"),
        ((COLD, COMING, COMING), "b"),
        ((LEAVING, COLD, COLD), "a"),
        ((LEAVING, COLD, READY), "c"),
    ],
)
def test_warm_takes_what_is_loaded_then_what_is_loading_then_the_first(stages: tuple[Stage, ...], name: str) -> None:
    assert chosen(Strategy.WARM, *((stage, 9) for stage in stages)) == name


def test_pin_takes_the_first_however_it_stands() -> None:
    assert chosen(Strategy.PIN, (LEAVING, 5), (READY, 0)) == "a"


@pytest.mark.parametrize(
    ("stands", "name"),
    [
        (((COLD, 0), (COLD, 0)), "a"),
        (((READY, 1), (COLD, 0)), "a"),
        (((READY, 2), (COLD, 0)), "b"),
        (((READY, 2), (READY, 1), (COLD, 0)), "b"),
        (((READY, 2), (READY, 2), (COLD, 0)), "c"),
        (((READY, 5), (READY, 4)), "b"),
        (((READY, 2), (COMING, 0), (COLD, 0)), "b"),
        (((READY, 2), (LEAVING, 0), (COLD, 0)), "c"),
        (((LEAVING, 1), (LEAVING, 0)), "a"),
    ],
)
def test_spillover_fills_the_loaded_ones_before_it_takes_another(
    stands: tuple[tuple[Stage, int], ...], name: str
) -> None:
    assert chosen(Strategy.SPILLOVER, *stands, spillover=2) == name

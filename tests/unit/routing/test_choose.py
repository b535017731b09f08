from __future__ import annotations

import pytest

from roost.registry.types import Resolution
from roost.routing.choose import Local, Standing, choose
from roost.routing.decisions import Decision, DecisionRing


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (Standing(ready=True), "resident"),
        (Standing(ready=False), "loaded"),
        (Standing(ready=False, displaces=True), "swapped"),
    ],
)
def test_the_reason_tells_what_it_took(standing: Standing, reason: str) -> None:
    assert choose(Resolution("m", "m", None, None), standing) == Local(reason)


def test_the_reason_tells_that_the_default_role_stood_in() -> None:
    resolution = Resolution("coding", "m", None, "coding", via_default=True)
    assert choose(resolution, Standing(ready=True)) == Local("resident-default")


def test_the_ring_keeps_the_newest_and_shows_them_first() -> None:
    ring = DecisionRing(size=2)
    for number in range(3):
        ring.record(Decision(str(number), 0.0, "m", None, "m", "here", "resident"))
    assert [decision.request_id for decision in ring.recent()] == ["2", "1"]
    assert [decision.request_id for decision in ring.recent(1)] == ["2"]
    assert ring.recent(0) == []

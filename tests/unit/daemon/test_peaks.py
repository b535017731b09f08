"""What was learned survives the way into the database and back."""

from __future__ import annotations

from roost.daemon.peaks import learned_of, row_of
from roost.memory.learned import Learned
from roost.memory.needs import Peak


def test_a_peak_comes_back_as_it_went() -> None:
    for learned in (Learned(Peak(7, 3, 2, 0.5), at_least_bytes=6), Learned(None, at_least_bytes=6)):
        assert learned_of(row_of("key", "org/a", learned, 1.0)) == learned

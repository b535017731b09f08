"""Numbers as people read them."""

from __future__ import annotations

import pytest

from roost.cli import format as people


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "-"), (0, "0 kB"), (92_000_000, "92 MB"), (999_999, "1000 kB"), (19_200_000_000, "19.2 GB")],
)
def test_a_size_has_a_unit(size_bytes: int | None, text: str) -> None:
    assert people.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7380, "2 h 3 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, text: str) -> None:
    assert people.duration(seconds) == text


def test_a_zero_between_two_units_is_left_out() -> None:
    assert people.duration(86400 + 59) == "1 d"


def test_columns_cut_nothing() -> None:
    lines = people.columns([("ID", "SIZE"), ("a-very-long-id/with-a-slash", "1 GB")])
    assert lines == ["ID                           SIZE", "a-very-long-id/with-a-slash  1 GB"]


def test_a_block_is_labelled_once() -> None:
    assert people.indented("host", ["one", "two"], 6) == ["host   one", "       two"]


@pytest.mark.parametrize(("amount", "text"), [(None, "-"), (134_515_008, "135M"), (30_500_000_000, "30.5B")])
def test_parameters_are_written_as_in_model_names(amount: int | None, text: str) -> None:
    assert people.parameters(amount) == text

"""What is written over a command line."""

from __future__ import annotations

from roost.host.command_line import command_line_bytes


def test_each_argument_keeps_its_end_and_blanks_fill_the_rest() -> None:
    assert command_line_bytes(["ab", "c"], 10) == b"ab\0c\0    \0"
    assert command_line_bytes(["ab", "c"], 6) == b"ab\0c\0\0"


def test_what_fits_exactly_fits_and_what_does_not_is_refused() -> None:
    assert command_line_bytes(["ab", "c"], 5) == b"ab\0c\0"
    assert command_line_bytes(["ab", "c"], 4) is None

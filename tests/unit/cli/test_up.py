"""Flags of `roost up`, keys' lifetimes, paint."""

from __future__ import annotations

import io

import pytest
import typer

from roost.cli.keys import lifetime_s
from roost.cli.output import paint_for, plain
from roost.cli.up import flags_of
from roost.daemon_types import UpOptions


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_background_gets_the_flags_that_were_given() -> None:
    options = UpOptions(host="127.0.0.1", port=0, model="a b", profile=None)
    assert flags_of(options) == ["--host", "127.0.0.1", "--port", "0", "--model", "a b"]


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43200), ("30d", 2592000), ("8w", 4838400)])
def test_a_lifetime_is_read(text: str, seconds: int) -> None:
    assert lifetime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "-1d", "1y"])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        lifetime_s(text)


def test_colour_needs_a_terminal_that_wants_it() -> None:
    assert paint_for(Terminal(), {}).enabled
    assert not paint_for(Terminal(), {"NO_COLOR": "1"}).enabled
    assert not paint_for(Terminal(), {"TERM": "dumb"}).enabled
    assert not paint_for(io.StringIO(), {}).enabled


def test_json_values_are_plain() -> None:
    assert plain({"a": (1, None), "b": frozenset({"y", "x"}), "c": UpOptions}) == {
        "a": [1, None],
        "b": ["x", "y"],
        "c": str(UpOptions),
    }

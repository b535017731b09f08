"""Suggestions are shown, never taken."""

from __future__ import annotations

from roost.cli.suggest import did_you_mean, nearest

KNOWN = ["SmolLM2-135M-Instruct-Q4_1", "org/Qwen3-Coder-30B:Q4_K_M", "org/Qwen3-4B"]


def test_a_typo_finds_the_name() -> None:
    assert nearest("SmolLM2-135M-Instrct-Q4_1", KNOWN) == ["SmolLM2-135M-Instruct-Q4_1"]


def test_the_beginning_of_an_id_is_suggested() -> None:
    assert did_you_mean("smollm2", KNOWN) == ' (did you mean "SmolLM2-135M-Instruct-Q4_1"?)'


def test_half_an_id_that_fits_two_names_shows_both() -> None:
    assert did_you_mean("qwen3", KNOWN) == ' (did you mean "org/Qwen3-4B" or "org/Qwen3-Coder-30B:Q4_K_M"?)'


def test_a_name_like_none_suggests_nothing() -> None:
    assert did_you_mean("zzz", KNOWN) == ""


def test_no_name_suggests_nothing() -> None:
    assert did_you_mean("", KNOWN) == ""

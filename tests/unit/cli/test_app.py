"""The table of commands: complete, teaching, and the reference made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from roost.cli.app import build_app, run
from roost.cli.reference import reference

ROOT = Path(__file__).parents[3]


def commands() -> Iterator[tuple[str, Any]]:
    root: Any = typer.main.get_command(build_app())
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {child}", inner) for child, inner in command.commands.items())
        else:
            yield name, command


EVERY = dict(commands())


@pytest.mark.parametrize("name", EVERY)
def test_every_help_shows_an_example(name: str) -> None:
    assert f"  roost {name}" in EVERY[name].help.replace("| roost", "  roost").replace("& roost", "  roost")


@pytest.mark.parametrize("name", EVERY)
def test_every_option_and_argument_is_described(name: str) -> None:
    for parameter in EVERY[name].params:
        if not parameter.hidden:
            assert parameter.help
            assert parameter.metavar or parameter.is_flag


@pytest.mark.parametrize("name", [name for name in EVERY if name.split()[-1] in ("list", "discover", "show", "status")])
def test_every_listing_has_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in EVERY[name].params)


def test_the_help_names_every_command_under_a_heading() -> None:
    text = CliRunner().invoke(build_app(), ["--help"]).output
    assert all(f"\n  {name.split()[0]} " in text for name in EVERY)
    assert "\nServe:\n" in text


@pytest.mark.parametrize("group", ["", "models", "engines", "keys", "config"])
def test_no_sentence_of_the_help_is_cut_short(group: str) -> None:
    text = CliRunner().invoke(build_app(), [*group.split(), "--help"]).output
    assert "..." not in text.replace("[ARGS]...", "")


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["statsu"]) == 2
    assert "Did you mean 'status'" in capsys.readouterr().err


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--jsno"]) == 2
    assert "--jsno" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("roost ")


def test_no_command_is_a_usage_error_that_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "First steps:" in capsys.readouterr().err


def test_the_committed_reference_is_the_one_generated() -> None:
    committed = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert committed == reference(), "run: python -m roost.cli.reference > docs/reference/cli.md"

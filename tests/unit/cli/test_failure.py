"""What goes wrong becomes sentences and an exit code."""

from __future__ import annotations

from roost.cli.failure import exit_code, sentences
from roost.errors import BadConfiguration, InsufficientMemory


def test_a_refusal_is_its_own_sentence() -> None:
    assert sentences(InsufficientMemory("cannot load X: needs 41.2 GB")) == ["error: cannot load X: needs 41.2 GB"]
    assert exit_code(InsufficientMemory("x")) == 1


def test_bad_configuration_lists_what_its_sentence_does_not_say() -> None:
    error = BadConfiguration("cannot use the settings: a (and 1 more)", problems=("a", "b"))
    assert sentences(error) == ["error: cannot use the settings: a (and 1 more)", "  - b"]
    assert exit_code(error) == 78


def test_an_error_of_the_system_names_the_file() -> None:
    error = PermissionError(13, "Permission denied", "/etc/x")
    assert sentences(error) == ["error: cannot use /etc/x: permission denied"]


def test_what_nobody_foresaw_says_how_to_see_more() -> None:
    assert sentences(ZeroDivisionError("division by zero"))[1].startswith("  run it again with ROOST_TRACEBACK=1")

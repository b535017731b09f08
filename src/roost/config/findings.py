"""What the checks of the settings are told and what they answer."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from roost.api import Problem
from roost.config.schema import ENGINE_NAMES


@dataclass(frozen=True)
class Facts:
    """What the checks must know beyond the settings; None: nobody has looked, and nothing is said about it."""

    has_keys: bool
    #: Physical ids that the catalog knows.
    models: Collection[str] | None = None
    #: Every role: those that always exist and those of the registry.
    roles: Collection[str] | None = None
    engines: Collection[str] = ENGINE_NAMES


def error(text: str, mend: str | None = None) -> Problem:
    return Problem(severity="error", text=text, mend=mend)


def warning(text: str, mend: str | None = None) -> Problem:
    return Problem(severity="warning", text=text, mend=mend)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The mend for a name that nobody knows; None when nothing is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f'did you mean "{near[0]}"?' if near else None

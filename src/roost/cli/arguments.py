"""What arguments of several commands have in common."""

from __future__ import annotations

import typer


def not_empty(value: str | None) -> str | None:
    """A name that a script left empty is a slip of its caller, not a name that nobody has."""
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty")
    return value

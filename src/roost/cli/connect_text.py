"""The words of `roost connect`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roost.cli.format import columns
from roost.connect.client import Client, Setup
from roost.connect.standing import Standing, State

HEADER = ("NAME", "PROGRAM", "KIND", "MODEL", "STATE", "SETTINGS")


@dataclass(frozen=True)
class Row:
    """One client on this machine."""

    client: Client
    #: None: it has no file that others may write.
    file: str | None
    there: bool
    standing: Standing
    #: Whether roost wrote to it, so that --restore has something to undo.
    written: bool
    problem: str | None = None


def table(rows: Sequence[Row]) -> list[str]:
    return columns([HEADER, *(_cells(row) for row in rows)])


def _cells(row: Row) -> tuple[str, ...]:
    state = str(row.standing.state)
    if row.standing.state is State.ELSEWHERE:
        state = f"{state}: {row.standing.address}"
    if row.written:
        state = f"{state}, written by roost"
    return (row.client.name, row.client.title, row.client.kind, row.client.role, state, row.file or "-")


def as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.client.name,
        "title": row.client.title,
        "kind": row.client.kind,
        "model": row.client.role,
        "settings": row.file,
        "settings_there": row.there,
        **asdict(row.standing),
        "written_by_roost": row.written,
        "problem": row.problem,
    }


def exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={value}" for name, value in environment.items()]


def shown_lines(client: Client, setup: Setup, file: str | None, snippet: str) -> tuple[list[str], list[str]]:
    """What `--print` says: the answer, and what is said beside it."""
    notes = [f"  {text}" for text in setup.notes]
    if file is None:
        return exports(setup.environment), [f"{client.title} reads these variables:", *notes]
    instead = ["  or for one shell, without a file:", *(f"    {line}" for line in exports(setup.environment))]
    beside = [f'{file}: "roost connect {client.name} --write" merges this into it', *notes]
    return snippet.rstrip("\n").split("\n"), beside + (instead if setup.environment else [])

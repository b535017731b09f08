"""`roost engines …`: the programs that run models, and their environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from roost.cli.doors import build_engines, here
from roost.cli.format import NOTHING, columns
from roost.cli.models import JsonOption
from roost.cli.output import note, say, say_all, say_json
from roost.cli.suggest import did_you_mean
from roost.errors import NotFound


@dataclass(frozen=True)
class EngineRow:
    """One engine as `engines list --json` shows it."""

    name: str
    installed: bool
    version: str | None
    device: str | None
    where: str | None
    reason: str | None
    mend: str | None


def engine_rows() -> list[EngineRow]:
    """Every engine, installed or not, and how to get it."""
    from roost.engines.types import Available

    rows = []
    for name, engine in build_engines(here()).items():
        state = engine.availability()
        if isinstance(state, Available):
            rows.append(EngineRow(name, True, state.version, state.device, state.where, None, None))
        else:
            rows.append(EngineRow(name, False, None, None, None, state.reason, state.mend))
    return rows


def engines_list(as_json: JsonOption = False) -> None:
    """List engines: version, device, where each lives; for a missing one the command that installs it.

    \b
    Example:
      roost engines list
    """
    rows = engine_rows()
    if as_json:
        say_json([vars(row) for row in rows])
        return
    say_all(columns([("ENGINE", "STATE", "VERSION", "DEVICE", "WHERE"), *(_cells(row) for row in rows)]))


def _cells(row: EngineRow) -> tuple[str, ...]:
    if row.installed:
        return (row.name, "installed", row.version or NOTHING, row.device or NOTHING, row.where or NOTHING)
    return (row.name, "missing", NOTHING, NOTHING, f"{row.reason}; run {row.mend}")


def engines_install(
    name: Annotated[str, typer.Argument(metavar="NAME", help='Engine, as "roost engines list" shows it.')],
) -> None:
    """Install an engine into an environment of its own: pinned versions, checked by their hashes.

    \b
    Example:
      roost engines install mlx-lm
    """
    from roost.engines.environments import install

    place = here()
    known = list(build_engines(place))
    if name not in known:
        raise NotFound(f'there is no engine "{name}"{did_you_mean(name, known)}; see "roost engines list"')
    install(place.paths, name, note)
    say(f"installed {name}")

"""`roost models …`: what is on this machine and how it gets there. None of it needs a daemon."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost.catalog.spec import SourceKind
from roost.cli import models_text
from roost.cli.announce import Bar
from roost.cli.arguments import not_empty
from roost.cli.doors import Here, here, load_settings, open_catalog, read_registry
from roost.cli.format import size
from roost.cli.output import note, say, say_all, say_json
from roost.cli.status import JSON_HELP
from roost.cli.use import find_model, reachable
from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.catalog.spec import ModelSpec, UnavailableModel
    from roost.catalog.upkeep import Removal

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help='Exact id, as "roost models list" shows it.', callback=not_empty)
]
JsonOption = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def models_add(
    what: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Hub id (org/repo, org/repo:QUANT), folder or file.gguf.")
    ],
    model_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id, if the usual one is taken.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch or commit of a hub id; pinned to its commit.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model known by its id; a hub id is fetched, files and folders stay where they are.

    A paired machine that has the same id is asked before the hub, unless --revision is given.

    \b
    Examples:
      roost models add mlx-community/Qwen3-4B-Instruct-2507-4bit
      roost models add bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
      roost models add ~/models/model.gguf --id my-model
    """
    if not what.strip():
        raise typer.BadParameter("nothing to add: name a hub id, a folder or a file.gguf")
    if model_id in (*CHAT_ROLES, *AUXILIARY_ROLES):
        raise typer.BadParameter(f'"{model_id}" is a role, which a request would get: choose another --id')
    spec = _added(what, model_id, revision)
    if as_json:
        say_json(spec)
        return
    say(f"added {spec.id} ({size(spec.weights_bytes)}, fingerprint {spec.short_fingerprint})")
    for warning in spec.warnings:
        note(f"warning: {warning}")
    note(f"  next: roost use coding {spec.id}")


def _added(what: str, model_id: str | None, revision: str | None) -> ModelSpec:
    """Of a paired machine that has the same id, before the hub is asked; a revision is the hub's alone."""
    from roost.cli.travel import from_peer

    place = here()
    catalog = _catalog(place)
    if revision is None and (spec := from_peer(place, catalog, what, model_id)) is not None:
        return spec
    bar = Bar(sys.stderr)
    try:
        return catalog.add(what, model_id=model_id, revision=revision, progress=bar.show_step)
    finally:
        bar.close()


def models_list(
    as_json: JsonOption = False,
    fit: Annotated[bool, typer.Option("--fit", help="Say of each what it needs and when it fits, by formula.")] = False,
) -> None:
    """List every model that roost can serve here: added, fetched, or found in other programs' stores.

    \b
    Examples:
      roost models list
      roost models list --fit
      roost models list --json | jq -r '.[].id'
    """
    place = here()
    catalog = _catalog(place)
    found = list(catalog.all())
    if fit and found:
        _list_fits(place, catalog, found, as_json)
    elif as_json:
        say_json(found)
    elif found:
        say_all(models_text.table(found, read_registry(place).registry.roles))
    else:
        note('no model is here yet; "roost up" fetches a small one, "roost models add" any other')


def _list_fits(place: Here, catalog: Catalog, found: list[ModelSpec | UnavailableModel], as_json: bool) -> None:
    from roost.cli.fits import fit_rows, fit_table

    rows = fit_rows(place, load_settings(place).settings, catalog, found)
    if as_json:
        say_json([asdict(row) for row in rows])
    else:
        say_all(fit_table(rows))


def models_discover(as_json: JsonOption = False) -> None:
    """Show what other programs have on this disk: Hugging Face cache, LM Studio, Ollama, configured folders.

    Nothing is changed or copied; what is found can be used at once, without a download.

    \b
    Example:
      roost models discover
    """
    place = here()
    catalog = _catalog(place)
    found = [model for model in catalog.all() if is_others(model, catalog.added(), place.paths.models)]
    if as_json:
        say_json(found)
    elif found:
        say_all(models_text.table(found, read_registry(place).registry.roles))
        note(f"{len(found)} found; take one with: roost use ROLE ID")
    else:
        note("nothing was found; catalog.folders in roost.toml names further folders to search")


def is_others(model: ModelSpec | UnavailableModel, own: Collection[str], fetched: Path) -> bool:
    """Neither added nor declared by somebody here, nor in the folder of what roost fetched."""
    declared = model.source.kind is SourceKind.DECLARED
    return not declared and model.id not in own and not Path(model.source.location).is_relative_to(fetched)


def models_show(model: IdArgument, as_json: JsonOption = False) -> None:
    """Show what one model's headers and files say, what its tools are worth, and what it takes of this machine.

    \b
    Example:
      roost models show SmolLM2-135M-Instruct-Q4_1
    """
    place = here()
    catalog = _catalog(place)
    found = find_model(model, catalog.all())
    if as_json:
        say_json(found)
        return
    spec = reachable(found)
    say_all(models_text.details(spec, _roles_of(place, found.id)))
    if "chat" in spec.capabilities:
        say(_tools_line(place, catalog, spec))
    say_all(_memory_lines(place, catalog, spec))


def _tools_line(place: Here, catalog: Catalog, spec: ModelSpec) -> str:
    """What the tool gate found; a model that nothing can serve here has no verdict either."""
    from roost.cli.use import verdict_here
    from roost.cli.verify_text import tools_line
    from roost.errors import RoostError
    from roost.store.verdicts import VerdictFile

    try:
        holds = verdict_here(place, load_settings(place).settings, catalog, spec)
    except RoostError:
        holds = None
    return tools_line(spec.id, holds, VerdictFile(place.paths.verdicts).last(spec.id))


def _memory_lines(place: Here, catalog: Catalog, spec: ModelSpec) -> list[str]:
    """By formula: `roost plan` asks the engine."""
    from roost.cli.fits import memory_lines

    return memory_lines(place, load_settings(place).settings, catalog, spec)


def models_rm(
    model: IdArgument,
    as_json: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would free; remove nothing.")] = False,
) -> None:
    """Forget a model; files that roost fetched itself are deleted, others' files never.

    \b
    Example:
      roost models rm my-model
    """
    place = here()
    catalog = _catalog(place)
    found = find_model(model, catalog.all())
    removal = _removal(place, catalog, found) if dry_run else catalog.remove(found.id)
    for role in _roles_of(place, found.id):
        note(f'warning: role {role} names it; "roost use {role} ID" gives the role another model')
    if as_json:
        say_json(asdict(removal))
    else:
        say_all(models_text.removal_lines(removal, dry_run=dry_run))


def _removal(place: Here, catalog: Catalog, found: ModelSpec | UnavailableModel) -> Removal:
    from roost.catalog.upkeep import removal_of

    return removal_of(found, catalog.all(), place.paths.models, is_added=found.id in catalog.added())


def _catalog(place: Here) -> Catalog:
    return open_catalog(place, load_settings(place).settings)


def _roles_of(place: Here, model_id: str) -> list[str]:
    roles = read_registry(place).registry.roles
    return sorted(role for role, target in roles.items() if target.partition("@")[0] == model_id)

"""`roost import …`: another program's configuration as roost's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.doors import Here, daemon_answers, here, key_file, load_settings, open_catalog, read_registry
from roost.cli.output import note, say
from roost.errors import BadConfiguration, Refused

if TYPE_CHECKING:
    from roost.config.llama_swap.types import Imported

#: It may hold values of variables that were references before.
_SETTINGS_MODE = 0o600


def import_llama_swap(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="llama-swap's config.yaml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings; write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing settings; they are kept as roost.toml.bak.")
    ] = False,
) -> None:
    """Turn a llama-swap configuration into roost.toml, with its models, names, keys and limits.

    What roost has no place for is named in a warning; what llama-swap refuses is an error and nothing is written.

    \b
    Examples:
      roost import llama-swap ~/llama-swap/config.yaml --dry-run
      roost import llama-swap ~/llama-swap/config.yaml
    """
    place = here()
    found = _read(place, file)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if dry_run:
        say(found.toml.rstrip("\n"))
        note("nothing was written (--dry-run)")
        return
    _write_settings(place, found, force=force)
    _write_keys(place, found)
    _write_roles(place, found)
    note(f"  next: {_next(place)}")


def _read(place: Here, file: Path) -> Imported:
    from roost.config.llama_swap.convert import import_config
    from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES

    try:
        text = file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadConfiguration(f"cannot read {file}: {reason}") from error
    home = place.environ.get("HOME") or str(Path.home())
    folder = file.expanduser().absolute().parent
    return import_config(text, place.environ, folder, home, {*CHAT_ROLES, *AUXILIARY_ROLES})


def _write_settings(place: Here, found: Imported, *, force: bool) -> None:
    from roost.config.files import locked, replace_file

    path = Path(os.path.realpath(place.paths.settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        before = path.read_bytes() if path.exists() else None
        if before is not None and not force:
            raise Refused(
                f"cannot write {path}: it is there already; look at the new settings with --dry-run, "
                f"or replace it with --force (it is kept as {path.name}.bak)"
            )
        if before is not None:
            replace_file(path.with_name(f"{path.name}.bak"), before, mode=_SETTINGS_MODE)
        replace_file(path, found.toml.encode(), mode=_SETTINGS_MODE)
    say(f"wrote {path}: {found.models} models, {found.aliases} aliases")


def _write_keys(place: Here, found: Imported) -> None:
    if not found.keys:
        return
    keys = key_file(place)
    for number, key in enumerate(found.keys, start=1):
        keys.adopt(f"llama-swap {number}", key, admin=True)
    say(f"took over {len(found.keys)} keys, as hashes: clients go on with them, and each may manage this roost")


def _write_roles(place: Here, found: Imported) -> None:
    """Only roles that the registry does not have, or that mean a model that is nowhere now, with which nothing would
    become ready: its other entries are somebody's decision."""
    from roost.registry.write import set_role

    roles = read_registry(place).registry.roles
    gone = _gone(
        place, {roles[role] for role, model_id in found.roles.items() if roles.get(role, model_id) != model_id}
    )
    for role, model_id in found.roles.items():
        before = roles.get(role)
        if before is None:
            set_role(place.paths.registry, role, model_id)
            say(f"{role} → {model_id}")
        elif before in gone:
            set_role(place.paths.registry, role, model_id)
            say(f"{role} → {model_id} (it was {before}, and no model is called so any more)")
        elif before != model_id:
            note(f'warning: role {role} stays {before}; "roost use {role} {model_id}" changes that')


def _gone(place: Here, names: set[str]) -> set[str]:
    """Those of them that no model on this machine has, as the settings are now. Other nodes' are never gone."""
    here_ = {name for name in names if "@" not in name}
    if not here_:
        return here_
    settings = load_settings(place).settings
    aliases = {alias for model in settings.models.values() for alias in model.aliases}
    return here_ - aliases - {entry.id for entry in open_catalog(place, settings).all()}


def _next(place: Here) -> str:
    return "roost status, since a running roost notices the files" if daemon_answers(place.paths) else "roost up"

"""`roost use`: which model a role means."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.cli.arguments import not_empty
from roost.cli.doors import (
    Here,
    ask_daemon,
    build_engines,
    daemon_answers,
    here,
    load_settings,
    open_catalog,
    read_registry,
)
from roost.cli.output import note, say, say_json
from roost.cli.status_text import NOT_LOADED
from roost.cli.suggest import did_you_mean, nearest
from roost.config.settings import TOOLS
from roost.errors import ModelNotFound, ModelUnavailable, Refused
from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES

if TYPE_CHECKING:
    from roost.api import StatusReport
    from roost.catalog.catalog import Catalog
    from roost.client import DaemonClient
    from roost.config.settings import Settings
    from roost.store.verdicts import Basis, Verdict

ROLE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
#: So close to a known role, a new one is more likely a slip.
SLIP = 0.8
#: A running roost reads a changed file within a second.
TAKEN_WITHIN_S = 3.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Change:
    """What `use` did or would do; its fields are the `--json` answer."""

    role: str
    model: str
    before: str | None
    registry: str
    written: bool
    daemon: str


@dataclass(frozen=True)
class Wishes:
    """The flags."""

    dry_run: bool
    as_json: bool
    force: bool


def use(
    role: Annotated[
        str,
        typer.Argument(metavar="ROLE", help="default, coding, embedding, … or a name of yours.", callback=not_empty),
    ],
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help='Exact id, as "roost models list" shows it.', callback=not_empty)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also if the role asks for what the model lacks, or looks misspelt.")
    ] = False,
) -> None:
    """Point a role at a model: writes the registry file, which a running roost notices.

    The model must be on this machine under exactly this id; nothing near it is taken instead. ID@NODE is a model, and
    ROLE@NODE a role, of a paired machine. The role tool-calling, and any that requires tools, takes only a model that
    "roost models verify" found fit.

    \b
    Examples:
      roost use coding mlx-community/Qwen3-Coder-30B-A3B-Instruct-4bit
      roost use embedding SmolLM2-135M-Instruct-Q4_1
      roost use most-capable Some-120B-4bit@basement
    """
    place = here()
    loaded = load_settings(place)
    roles = read_registry(place).registry.roles
    if not force:
        check_role(role, [*roles, *loaded.settings.roles])
    catalog = open_catalog(place, loaded.settings)
    check_free(role, catalog)
    if "@" in model and catalog.get(model) is None:
        wishes = Wishes(dry_run, as_json, force)
        _use_elsewhere(place, role, model, roles.get(role), loaded.settings, wishes)
        return
    found = find_model(model, catalog.all())
    if isinstance(found, ModelSpec) and not force:
        check_fit(role, found, loaded.settings.required(role))
        if TOOLS in loaded.settings.required(role):
            check_tools(role, found, verdict_here(place, loaded.settings, catalog, found))
    if not dry_run:
        _write(place, catalog, role, found)
    next_ = _what_happens(place, role, found.id, loaded.settings, wait_s=0.0 if dry_run else TAKEN_WITHIN_S)
    change = Change(role, found.id, roles.get(role), str(place.paths.registry), not dry_run, next_)
    _show(change, found, as_json)


def _use_elsewhere(
    place: Here,
    role: str,
    model: str,
    before: str | None,
    settings: Settings,
    wishes: Wishes,
) -> None:
    """A model of a paired machine: only the running roost knows what that has."""
    from roost.registry.write import set_role

    if not daemon_answers(place.paths):
        raise ModelNotFound(
            f'no model on this machine has the id "{model}", and what other machines have only a running roost knows: '
            '"roost up", then once more'
        )
    entry = ask_daemon(lambda client: client.model(model), place)["roost"]
    if TOOLS in settings.required(role) and not entry["verified"] and not wishes.force:
        raise Refused(
            f"cannot use {model} as {role}: the role requires tools, and it was not found fit there; run "
            f'"roost models verify {entry["resolves_to"]}" on {entry["node"]}, or add --force'
        )
    if not wishes.dry_run:
        set_role(place.paths.registry, role, model)
    state = f"it is {entry['state']} on {entry['node']}; the next request goes there"
    _show(Change(role, model, before, str(place.paths.registry), not wishes.dry_run, state), None, wishes.as_json)


def check_role(role: str, known: Iterable[str]) -> None:
    """Raises Refused for a name that cannot be a role, or is nearly one that exists."""
    if not ROLE_NAME.fullmatch(role):
        raise Refused(f'"{role}" cannot be a role: use letters, digits, dots, dashes, at most 64 of them')
    every = {*CHAT_ROLES, *AUXILIARY_ROLES, *known}
    if role not in every and (close := nearest(role, every, SLIP)):
        raise Refused(f'there is no role "{role}" yet; did you mean "{close[0]}"? --force makes a new one')


def check_free(role: str, catalog: Catalog) -> None:
    """Raises Refused for a name that a model has: a request by it would get that model, whatever the registry says."""
    if role not in (*CHAT_ROLES, *AUXILIARY_ROLES) and catalog.get(role) is not None:
        raise Refused(f'"{role}" cannot be a role: it is the id of a model here, which a request gets; choose another')


def find_model(model: str, known: Iterable[ModelSpec | UnavailableModel]) -> ModelSpec | UnavailableModel:
    """The model with exactly this id. Raises ModelNotFound that names what is near."""
    by_id = {entry.id: entry for entry in known}
    if model in by_id:
        return by_id[model]
    raise ModelNotFound(
        f'no model on this machine has the id "{model}"{did_you_mean(model, by_id)}; nothing was put in its place; '
        'see "roost models list" or fetch it with "roost models add"'
    )


def reachable(found: ModelSpec | UnavailableModel) -> ModelSpec:
    """Raises ModelUnavailable with the reason."""
    if isinstance(found, UnavailableModel):
        raise ModelUnavailable(f"cannot read {found.id}: {found.reason} ({found.source.location})")
    return found


def check_fit(role: str, spec: ModelSpec, required: Collection[str]) -> None:
    """Raises Refused when the role requires what the model cannot do; tools are the gate's affair."""
    needed = {*required, *({"rerank"} if role == "rerank" else ())} - {TOOLS}
    if missing := sorted(needed - spec.capabilities):
        raise Refused(
            f"cannot use {spec.id} as {role}: the role requires {', '.join(missing)} and the model offers "
            f"{', '.join(sorted(spec.capabilities)) or 'nothing known'}; choose another model or add --force"
        )


def check_tools(role: str, spec: ModelSpec, verdict: Verdict | None) -> None:
    """Raises Refused unless the model was found fit, as it is served now."""
    if verdict is not None and verdict.passed:
        return
    if verdict is None:
        why = "was not verified as it is served now"
        mend = f'run "roost models verify {spec.id}" while roost is up'
    else:
        why, mend = f"was found unfit: {'; '.join(verdict.reasons)}", "choose another model"
    raise Refused(f"cannot use {spec.id} as {role}: the role requires tools, and it {why}; {mend}, or add --force")


def verdict_here(place: Here, settings: Settings, catalog: Catalog, spec: ModelSpec) -> Verdict | None:
    """What the tool gate found of a model as it would be served now. Raises RoostError when nothing would serve it."""
    from roost.store.verdicts import VerdictFile

    return VerdictFile(place.paths.verdicts).of(spec.id, basis_here(place, settings, catalog, spec))


def basis_here(place: Here, settings: Settings, catalog: Catalog, spec: ModelSpec) -> Basis:
    """What a verdict on it would stand on. Raises RoostError when nothing would serve it."""
    from dataclasses import asdict

    from roost.engines.basis import ground_of
    from roost.host.this import this_host
    from roost.store.verdicts import Basis

    engines = build_engines(place, catalog)
    return Basis(**asdict(ground_of(spec, settings, engines, apple=this_host().is_apple_silicon())))


def _write(place: Here, catalog: Catalog, role: str, found: ModelSpec | UnavailableModel) -> None:
    """The registry entry; the catalog holds on to the fingerprint that the id has now."""
    from roost.registry.write import set_role

    if isinstance(found, ModelSpec):
        catalog.pin(found.id)
    set_role(place.paths.registry, role, found.id)


def _what_happens(place: Here, role: str, model: str, settings: Settings, *, wait_s: float) -> str:
    """The next thing that a running daemon will do about it, in one sentence. It is given so long to read the file:
    a request right behind this command means what this command said."""
    if not daemon_answers(place.paths):
        return 'no roost is running here; "roost up" will use it'

    from roost.client import RoostClientError

    async def call(client: DaemonClient) -> StatusReport:
        deadline = time.monotonic() + wait_s
        while True:
            status = await client.status()
            if taken(status, role, model) or time.monotonic() >= deadline:
                return status
            await asyncio.sleep(_LOOK_S)

    try:
        status = ask_daemon(call, place)
    except RoostClientError as error:
        return f"a roost is running and did not say what it does next: {error.message}"
    state = " and uses it" if taken(status, role, model) else " and has not taken it yet" if wait_s else ""
    return f"roost is running{state}; {next_step(status, role, model, settings)}"


def taken(status: StatusReport, role: str, model: str) -> bool:
    """Whether it has read the entry: a role without one may mean the same model, as default."""
    return any(one.role == role and one.resolves_to == model and not one.via_default for one in status.roles)


def next_step(status: StatusReport, role: str, model: str, settings: Settings) -> str:
    """What a request for the role meets. Not read from the status' own roles: these may not have the change yet."""
    live = [worker for worker in status.workers if worker.state not in NOT_LOADED]
    if any(worker.model == model for worker in live):
        return "it is loaded already"
    if model in settings.models and settings.models[model].external:
        return "the next request goes to the server of that model"
    if role in AUXILIARY_ROLES:
        return "the next request starts a small worker of its own beside the resident"
    if not _pushes_out(model, [worker.model for worker in live if worker.kind == "chat"], settings):
        return "the next request loads it"
    swap = {
        "never": 'rotation is "never": what is resident stays until "roost load"',
        "idle": 'rotation is "idle": it is loaded once the resident has been idle; "roost load" does it now',
        "always": 'rotation is "always": the next request loads it',
    }
    return swap.get(status.rotation_policy, status.rotation_policy)


def _pushes_out(model: str, residents: list[str], settings: Settings) -> bool:
    from roost.config.layout import anything, layout_of, make_room

    residency = settings.residency
    room = make_room(layout_of(residency), model, residents, (), anything, residency.max_resident)
    return room != frozenset()


def _show(change: Change, found: ModelSpec | UnavailableModel | None, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        say_json(asdict(change))
    else:
        before = f" (was {change.before})" if change.before and change.before != change.model else ""
        say(f"{change.role} → {change.model}{before}")
        note(f"  {change.registry if change.written else 'nothing was written (--dry-run)'}; {change.daemon}")
    if isinstance(found, UnavailableModel):
        note(f"warning: {found.id} cannot be reached now: {found.reason}")
    elif found is not None:
        for warning in found.warnings:
            note(f"warning: {found.id}: {warning}")

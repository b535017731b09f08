"""What `config check` and `doctor` find wrong in settings, registry and engines' knobs, without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from socket import gethostname
from typing import TYPE_CHECKING

from roost.api import Problem
from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.cli.doors import Here, build_engines, key_file, load_settings, open_catalog, read_registry
from roost.cli.suggest import nearest
from roost.errors import BadConfiguration, RoostError, Unavailable
from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES, Registry, RegistryProblem

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.config.settings import Settings
    from roost.engines.types import Engine


@dataclass(frozen=True)
class View:
    """Everything that is on disk, read once."""

    place: Here
    settings: Settings
    registry: Registry
    catalog: Catalog
    engines: dict[str, Engine]


def findings(place: Here) -> list[Problem]:
    """Errors and warnings in the order in which they should be mended."""
    try:
        loaded = load_settings(place)
    except BadConfiguration as error:
        return [Problem(severity="error", text=text) for text in error.problems or (error.message,)]
    state = read_registry(place)
    catalog = open_catalog(place, loaded.settings)
    view = View(place, loaded.settings, state.registry, catalog, build_engines(place, catalog))
    return [
        *loaded.problems,
        *_astray(place),
        *_registry_problem(place, state.problem),
        *_keys(place),
        *_settings(view),
        *_targets(view),
        *_hidden_roles(view),
        *_reachability(view),
        *_knobs(view),
    ]


def _astray(place: Here) -> Iterator[Problem]:
    """Settings that lie where the registry lies are an easy mistake, and nobody reads them."""
    settings, beside = place.paths.settings, place.paths.registry.with_name("roost.toml")
    if beside != settings and beside.exists():
        mend = f"mv {beside} {settings}" if not settings.exists() else f"move what it says to {settings}"
        yield Problem(severity="warning", text=f"nobody reads {beside}: the settings are in {settings}", mend=mend)


def _registry_problem(place: Here, problem: RegistryProblem | None) -> Iterator[Problem]:
    if problem is None:
        return
    where = "" if problem.line is None else f", line {problem.line}, column {problem.column}"
    backup = place.paths.registry.with_name(f"{place.paths.registry.name}.bak")
    mend = "mend that place" + (f", or take back {backup}" if backup.exists() else "")
    yield Problem(severity="error", text=f"{place.paths.registry}{where}: {problem.message}", mend=mend)


def _keys(place: Here) -> Iterator[Problem]:
    if text := key_file(place).shut_out():
        yield Problem(severity="warning", text=text, mend="roost keys add NAME")


def _settings(view: View) -> Iterator[Problem]:
    from roost.config.check import check
    from roost.config.findings import Facts

    facts = Facts(
        has_keys=key_file(view.place).exist(),
        models={model.id for model in view.catalog.all()},
        roles={*CHAT_ROLES, *AUXILIARY_ROLES, *view.registry.roles},
    )
    yield from check(view.settings, facts)


def _reachability(view: View) -> Iterator[Problem]:
    """Roles that the rotation policy keeps out while what a fresh start loads stays."""
    from roost.registry.reachability import Rotation, expected_residents, reachability, rotation_problems

    known = {model.id for model in view.catalog.all()}
    residency = view.settings.residency
    rotation = Rotation.of(view.settings.rotation, residency, expected_residents(view.registry, residency, known))
    yield from rotation_problems(reachability(view.registry, rotation, known, gethostname()))


def _targets(view: View) -> Iterator[Problem]:
    """Roles whose model is not here, or cannot be reached."""
    known = {model.id: model for model in view.catalog.all()}
    for role, target in view.registry.roles.items():
        model_id, _, node = target.partition("@")
        if not node and (problem := judge_target(role, model_id, known)):
            yield problem


def _hidden_roles(view: View) -> Iterator[Problem]:
    from roost.registry.reachability import hidden_role_problems

    yield from hidden_role_problems(view.registry, {model.id for model in view.catalog.all()})


def judge_target(role: str, model_id: str, known: dict[str, ModelSpec | UnavailableModel]) -> Problem | None:
    """What is wrong with one role's model; None: nothing."""
    found = known.get(model_id)
    if isinstance(found, UnavailableModel):
        return Problem(severity="warning", text=f"role {role}: {model_id} is unavailable: {found.reason}")
    if found is not None:
        return None
    close = nearest(model_id, known)
    mend = f"roost use {role} {close[0]}" if close else f"roost models add {model_id}"
    return Problem(severity="warning", text=f"role {role}: no model on this machine is {model_id}", mend=mend)


def _knobs(view: View) -> Iterator[Problem]:
    """What the engine that would serve each role's model cannot honour."""
    for spec, engine in _served(view):
        if isinstance(engine, RoostError):
            yield Problem(severity="error", text=engine.message)
            continue
        for text in engine.problems(spec, view.settings.knobs(spec.id, engine.name)):
            yield Problem(severity="error", text=text)


def engines_in_use(place: Here) -> list[Engine]:
    """Those that would serve the roles' models. Raises BadConfiguration."""
    settings = load_settings(place).settings
    catalog = open_catalog(place, settings)
    view = View(place, settings, read_registry(place).registry, catalog, build_engines(place, catalog))
    found = {engine.name: engine for _, engine in _served(view) if not isinstance(engine, RoostError)}
    return list(found.values())


def _served(view: View) -> Iterator[tuple[ModelSpec, Engine | RoostError]]:
    """Each role's model that is here, and what would serve it or why nothing can."""
    from roost.engines.table import choose_engine
    from roost.host.this import this_host

    apple = this_host().is_apple_silicon()
    for model_id in dict.fromkeys(target.partition("@")[0] for target in view.registry.roles.values()):
        spec = view.catalog.get(model_id)
        if not isinstance(spec, ModelSpec):
            continue
        knobs, own = view.settings.knobs(model_id), view.settings.models.get(model_id)
        try:
            yield spec, choose_engine(spec, knobs, view.engines, apple, own)
        except (BadConfiguration, Unavailable) as error:
            yield spec, error

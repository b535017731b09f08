"""A whole config.yaml: text in, roost.toml and the names for the registry out."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from roost.config.layout import together
from roost.config.llama_swap import reasons
from roost.config.llama_swap.macros import Macros
from roost.config.llama_swap.model import Surroundings, convert_model
from roost.config.llama_swap.places import groups, layout_among, matrix, residency
from roost.config.llama_swap.redirects import Known, Redirects, redirects
from roost.config.llama_swap.toml_text import toml_text
from roost.config.llama_swap.types import Imported, Notes, Table, refuse
from roost.config.settings import Settings
from roost.errors import BadConfiguration

#: Requests that llama-swap sends to one model at once, unless the model says otherwise.
_USUAL_CONCURRENCY = 10
_LEAST_HEALTH_CHECK_S = 15
_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_HEAD = "# Made by `roost import llama-swap`. It is yours now: the file that it came from is not read again.\n\n"
_Models = dict[str, dict[str, Any]]


def import_config(
    text: str, environ: Mapping[str, str], folder: Path, home: str, reserved: Collection[str]
) -> Imported:
    """`folder` is the file's own, `reserved` the names that are roles whatever they are also called.

    Raises BadConfiguration for everything that llama-swap refuses.
    """
    if importlib.util.find_spec("yaml") is None:
        raise BadConfiguration(
            "cannot read YAML: PyYAML is not installed beside roost; "
            'run "python -m pip install pyyaml" in its environment'
        )
    from roost.config.llama_swap.source import parse

    notes = Notes()
    return _Import(Table("", parse(text, environ, notes), notes), environ, folder, home, reserved).run()


class _Import:
    """The parts in the order in which they need each other."""

    def __init__(
        self, top: Table, environ: Mapping[str, str], folder: Path, home: str, reserved: Collection[str]
    ) -> None:
        self._top, self._environ, self._reserved = top, environ, reserved
        macros = Macros.declared("macros", top.table("macros").values)
        self._around = Surroundings(macros, top.whole("globalTTL", 0), folder, home)
        #: Alias -> model.
        self._owner: dict[str, str] = {}
        self._roles: dict[str, str] = {}

    def run(self) -> Imported:
        models = self._models()
        self._prioritise(models)
        named = self._redirects(models)
        document = self._document(models, named)
        keys = self._keys()
        self._top.tell_the_rest(reasons.GLOBAL)
        _validate(document)
        return Imported(
            toml=_HEAD + toml_text(document).lstrip(),
            roles=self._roles,
            keys=keys,
            warnings=tuple(self._top.notes.lines),
            models=len(models),
            aliases=len(self._owner),
        )

    def _models(self) -> _Models:
        from roost.config.llama_swap.peers import peer_models

        table = self._top.table("models")
        found: _Models = {}
        for model_id, entry in table.each():
            converted = convert_model(model_id, entry, self._around)
            for alias in converted.aliases:
                self._own(alias, model_id, entry.at("aliases"), table.values)
            found[model_id] = self._without_roles(model_id, converted.settings)
        peers = peer_models(self._top.table("peers"), self._around.macros, {*found, *self._owner})
        for model_id, settings in peers.items():
            self._owner |= dict.fromkeys(settings.get("aliases", ()), model_id)
        if not (found or peers):
            raise refuse("models", "there are none")
        return found | peers

    def _own(self, alias: str, model_id: str, place: str, models: Collection[str]) -> None:
        if alias in models:
            raise refuse(place, f'"{alias}" is the name of a model')
        if self._owner.setdefault(alias, model_id) != model_id:
            raise refuse(place, f'"{alias}" is an alias of {self._owner[alias]} already')

    def _without_roles(self, model_id: str, settings: dict[str, Any]) -> dict[str, Any]:
        """A name that is a role is kept by pointing the role at the model, since a role always wins."""
        for name in (model_id, *settings.get("aliases", ())):
            if name in self._reserved:
                self._roles[name] = model_id
        aliases = [alias for alias in settings.get("aliases", ()) if alias not in self._reserved]
        rest = {key: value for key, value in settings.items() if key != "aliases" or aliases}
        return rest | ({"aliases": aliases} if aliases else {})

    def _real(self, name: str) -> str | None:
        return name if name in self._top.table("models").values else self._owner.get(name)

    # What concerns several models.

    def _document(self, models: _Models, named: Redirects) -> dict[str, Any]:
        profile, preload = self._at_start(named)
        self._roles.setdefault("default", preload[0] if preload else next(iter(models)))
        placed = self._residency(models)
        others = [model_id for model_id in preload if model_id != self._roles["default"]]
        placed |= {"preload": others} if others else {}
        self._tell_who_is_left_out([self._roles["default"], *others], placed, models)
        tables = {"selectors": named.selectors, "profiles": named.profiles}
        return {
            **({"profile": profile} if profile else {}),
            "log": self._log(),
            "rotation": {"policy": "always"},
            "residency": placed,
            "engines": {"command": self._engine()},
            **{key: table for key, table in tables.items() if table},
            "models": models,
        }

    def _tell_who_is_left_out(self, wanted: list[str], placed: dict[str, Any], models: _Models) -> None:
        places = placed.get("max_resident", 1)
        fitting = together(wanted, layout_among(placed, models), lambda name: _is_counted(models[name]), places)
        if left := [model_id for model_id in wanted if model_id not in fitting]:
            self._top.notes.add(
                "hooks.on_startup.preload", f"{', '.join(left)} cannot be loaded beside those before it, and is not"
            )

    def _engine(self) -> dict[str, Any]:
        found: dict[str, Any] = {"max_sequences": _USUAL_CONCURRENCY}
        if self._top.has("healthCheckTimeout"):
            found["load_deadline_s"] = max(self._top.whole("healthCheckTimeout", 120), _LEAST_HEALTH_CHECK_S)
        if self._around.global_ttl_s:
            found["idle_ttl_s"] = self._around.global_ttl_s
        return found

    def _log(self) -> dict[str, str]:
        level = self._top.text("logLevel", "info").lower()
        if level not in _LEVELS:
            self._top.notes.add("logLevel", f'"{level}" is not a level; info is used')
        return {"level": _LEVELS[level]} if _LEVELS.get(level, "info") != "info" else {}

    def _at_start(self, named: Redirects) -> tuple[str, list[str]]:
        """The active profile, and the models to load."""
        hook = self._top.table("hooks")
        start = hook.table("on_startup")
        profile = start.text("profile")
        if profile and profile not in named.profiles:
            raise refuse(start.at("profile"), f'there is no profile "{profile}"')
        found = []
        for name in start.texts("preload"):
            if real := self._real(name.strip()):
                found.append(real)
            else:
                start.notes.add(start.at("preload"), f'there is no model "{name}", so it is not loaded at start')
        start.tell_the_rest({})
        hook.tell_the_rest({})
        return profile, list(dict.fromkeys(found))

    def _residency(self, models: _Models) -> dict[str, Any]:
        local = self._top.table("models").values
        placed = self._placed(local)
        layout = layout_among(placed, local)
        beside = [name for name in local if not _is_counted(models[name]) and not layout.names(name)]
        if beside:
            self._top.notes.add(
                ", ".join(f"models.{name}" for name in beside),
                "served beside the chat model, which it neither evicts nor waits for, because of its command's flags",
            )
        return residency(placed, lambda name: _is_counted(models[name]), local)

    def _placed(self, local: Collection[str]) -> dict[str, Any]:
        """The top level's groups or matrix, or those of `routing.router`; both styles at once are refused."""
        top, router = self._top, self._top.table("routing").table("router")
        settings = router.table("settings")
        old = top.has("groups") or top.has("matrix")
        if old and (router.has("use") or settings.values):
            raise refuse("routing.router", "the file has `groups` or `matrix` at its top level too; keep one style")
        if top.has("groups") and top.has("matrix"):
            raise refuse("matrix", "the file has groups too; keep one of them")
        use = "matrix" if top.has("matrix") else router.text("use", "group")
        if use not in ("group", "matrix"):
            raise refuse(router.at("use"), "group or matrix is expected")
        where = top if old else settings
        found: dict[str, Any] = {}
        if use == "matrix":
            found["matrix"] = matrix(where.table("matrix"), local)
        elif declared := groups(where.table("groups"), local):
            found["groups"] = declared
        settings.tell_the_rest(reasons.ROUTER)
        router.tell_the_rest({})
        return found

    def _prioritise(self, models: _Models) -> None:
        routing = self._top.table("routing")
        scheduler = routing.table("scheduler")
        settings = scheduler.table("settings")
        fifo = settings.table("fifo")
        priorities = fifo.table("priority")
        for name in priorities.values:
            real = self._real(name)
            priority = priorities.whole(name, 0, least=-1_000)
            if real is None:
                priorities.notes.add(priorities.at(name), "there is no such model, so it was left out")
            elif priority:
                models[real]["priority"] = priority
        fifo.tell_the_rest({})
        settings.tell_the_rest({})
        if scheduler.text("use", "fifo") != "fifo":
            raise refuse(scheduler.at("use"), "only fifo is known")
        scheduler.tell_the_rest({})
        routing.raw("router")
        routing.tell_the_rest({})

    def _keys(self) -> tuple[str, ...]:
        from roost.config.llama_swap.source import filled_in

        found = [filled_in(key, self._environ, "apiKeys") for key in self._top.texts("apiKeys")]
        if any(not key or re.search(r"\s", key) for key in found):
            raise refuse("apiKeys", "a key is empty or has a space in it")
        return tuple(dict.fromkeys(found))

    def _redirects(self, models: _Models) -> Redirects:
        known = Known(models, self._owner, self._reserved)
        found = redirects(self._top.table("selectors"), self._top.table("profiles"), known)
        self._roles |= {role: model_id for role, model_id in found.roles.items() if role not in self._roles}
        return found


def _is_counted(model: Mapping[str, Any]) -> bool:
    """Whether it takes a place: embedding and rerank servers, and those that run elsewhere, take none."""
    return "external" not in model and set(model["capabilities"]) not in ({"embedding"}, {"rerank"})


def _validate(document: Mapping[str, Any]) -> None:
    """What the types of the settings refuse, named as it will stand there."""
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        problems = tuple(_mistakes(error))
        raise BadConfiguration(f"cannot import the configuration: {problems[0]}", problems=problems) from error


def _mistakes(error: ValidationError) -> Iterable[str]:
    for details in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{'.'.join(str(part) for part in details['loc'])}: {details['msg']}"

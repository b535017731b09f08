"""A whole config.yaml: text in, roost.toml and the names for the registry out."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from roost.config.llama_swap import reasons
from roost.config.llama_swap.macros import Macros
from roost.config.llama_swap.model import Surroundings, convert_model
from roost.config.llama_swap.places import groups_of, residency
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
        document = self._document(models)
        keys = self._keys()
        self._profiles()
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
        taken = {*found, *self._owner}
        found |= peer_models(self._top.table("peers"), self._around.macros, taken)
        if not found:
            raise refuse("models", "there are none")
        return found

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

    def _document(self, models: _Models) -> dict[str, Any]:
        preload = self._preload()
        self._roles.setdefault("default", preload[0] if preload else next(iter(models)))
        placed = self._residency(models)
        others = [model_id for model_id in preload if model_id != self._roles["default"]]
        if len(others) >= placed.get("max_resident", 1):
            self._top.notes.add(
                "hooks.on_startup.preload", "only the first fit at once; raise residency.max_resident to load them all"
            )
        placed |= {"preload": others} if others else {}
        return {
            "log": self._log(),
            "rotation": {"policy": "always"},
            "residency": placed,
            "engines": {"command": self._engine()},
            "models": models,
        }

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

    def _preload(self) -> list[str]:
        hook = self._top.table("hooks")
        start = hook.table("on_startup")
        found = []
        for name in start.texts("preload"):
            if real := self._real(name.strip()):
                found.append(real)
            else:
                start.notes.add(start.at("preload"), f'there is no model "{name}", so it is not loaded at start')
        start.tell_the_rest({})
        hook.tell_the_rest({})
        return list(dict.fromkeys(found))

    def _residency(self, models: _Models) -> dict[str, Any]:
        table = self._groups()
        local = self._top.table("models").values
        groups = groups_of(table, local)
        grouped = {member for group in groups for member in group.members}
        beside = [name for name in local if set(models[name]["capabilities"]) in ({"embedding"}, {"rerank"})]
        if beside:
            table.notes.add(
                ", ".join(f"models.{name}" for name in beside),
                "served beside the chat model, which it neither evicts nor waits for, because of its command's flags",
            )
        return residency(groups, beside, bool(set(local) - grouped - set(beside)), table)

    def _groups(self) -> Table:
        """The top level's groups, or those of `routing.router`; both styles at once are refused."""
        routing = self._top.table("routing")
        router = routing.table("router")
        settings = router.table("settings")
        old = self._top.has("groups") or self._top.has("matrix")
        if old and (router.has("use") or settings.values):
            raise refuse("routing.router", "the file has `groups` or `matrix` at its top level too; keep one style")
        use = router.text("use", "group")
        if use not in ("group", "matrix"):
            raise refuse(router.at("use"), "group or matrix is expected")
        groups = self._top.table("groups") if old else settings.table("groups")
        if self._top.has("groups") and self._top.has("matrix"):
            raise refuse("matrix", "the file has groups too; keep one of them")
        settings.tell_the_rest({"matrix": reasons.GLOBAL["matrix"]})
        router.tell_the_rest({})
        return Table("groups", {}, self._top.notes) if use == "matrix" else groups

    def _prioritise(self, models: _Models) -> None:
        routing = self._top.table("routing")
        scheduler = routing.table("scheduler")
        settings = scheduler.table("settings")
        fifo = settings.table("fifo")
        priorities = fifo.table("priority")
        for name in priorities.values:
            real = self._real(name)
            if real is None:
                raise refuse(priorities.place, f'there is no model "{name}"')
            if priority := priorities.whole(name, 0, least=-1_000):
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

    def _profiles(self) -> None:
        for name, entry in self._top.table("profiles").each():
            pins = ", ".join(entry.table("pins").values) or "nothing"
            entry.notes.add(
                entry.place, f'roost has no profiles ("{name}" renames {pins}); use roles: roost use ROLE ID'
            )


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

"""The tables of single models: how they are served, their further names, the filters of their requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from roost.api import Problem
from roost.catalog.spec import Capability
from roost.config.findings import Facts, did_you_mean, error, warning
from roost.config.schema import dotted
from roost.config.settings import CommandWorker, ExternalWorker, FilterSettings, ModelSettings, Settings

_CAPABILITIES: tuple[str, ...] = get_args(Capability)
_REFERENCE = re.compile(r"(env|file|keychain|cmd):.+", re.DOTALL)
#: Fields without which a request asks nothing.
_CONTENT = frozenset({"messages", "prompt", "input", "query", "documents"})
_URL = re.compile(r"https?://[^\s/]+\S*")


def check_models(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for model_id, model in settings.models.items():
        place = dotted(("models", model_id))
        yield from _check_how_served(place, model)
        yield from unknown_capabilities(f"{place}.capabilities", model.capabilities)
        yield from check_filters(f"{place}.filters", model.filters)
        for name, filters in model.name_filters.items():
            yield from check_filters(dotted(("models", model_id, "name_filters", name)), filters)
            if name not in (model_id, *model.aliases):
                yield warning(f'{place}.name_filters: "{name}" is none of its names', "add it to aliases")
        declared = model.command is not None or model.external is not None
        if facts.models is not None and model_id not in facts.models and not declared:
            yield warning(
                f"[{place}]: no model is called that, so it sets nothing",
                did_you_mean(model_id, facts.models) or "roost models list",
            )
    yield from _check_aliases(settings, facts)


def check_filters(place: str, filters: FilterSettings) -> Iterator[Problem]:
    """`model` is what was asked for and is never filtered; a clamp must leave a number."""
    named = {"strip": filters.strip, "set": filters.set, "default": filters.default, "clamp": filters.clamp}
    for kind, fields in named.items():
        if "model" in fields:
            yield error(
                f"{place}.{kind} names the field model, which no filter may touch: an id is served by its own "
                "weights or not at all",
                "give it another name with aliases, or point a role at it with: roost use ROLE ID",
            )
    for field in sorted(_CONTENT & {*filters.strip, *filters.set}):
        yield warning(f"{place} takes {field} from every request, which is what it asks", f"remove {field} from it")
    for field, rule in filters.clamp.items():
        if rule.min is None and rule.max is None:
            yield warning(f"{place}.clamp.{field} has neither min nor max", "set one of them")
        elif rule.min is not None and rule.max is not None and rule.min > rule.max:
            yield error(f"{place}.clamp.{field}: min {rule.min:g} is above max {rule.max:g}", "swap them")
    for field in sorted(set(filters.set) & {*filters.default, *filters.strip}):
        yield warning(f"{place}: {field} is both set and defaulted or stripped; the set value wins", "keep one")


def unknown_capabilities(place: str, named: tuple[str, ...]) -> Iterator[Problem]:
    for capability in named:
        if capability not in _CAPABILITIES:
            yield error(
                f'{place}: "{capability}" is not a capability; there are {", ".join(_CAPABILITIES)}',
                did_you_mean(capability, _CAPABILITIES),
            )


def _check_how_served(place: str, model: ModelSettings) -> Iterator[Problem]:
    if model.command and model.external:
        yield error(f"[{place}] has both a command and an external server", "keep one of the two tables")
    engine = model.engine.get("name", "auto")
    for kind, worker in (("command", model.command), ("external", model.external)):
        if engine == kind and worker is None:
            yield error(f'{place}.engine.name = "{kind}" needs the table [{place}.{kind}]', f"write [{place}.{kind}]")
        elif worker is not None and engine not in ("auto", kind):
            yield error(
                f'{place}.engine.name = "{engine}" contradicts the table [{place}.{kind}]',
                "remove the name or the table",
            )
    if model.context_length is not None and not (model.command or model.external):
        yield warning(
            f"{place}.context_length declares the window of a command or external model only",
            f"set {place}.engine.context instead",
        )
    if model.command:
        yield from _check_command(f"{place}.command", model.command)
    if model.external:
        yield from _check_external(f"{place}.external", model.external)


def _check_command(place: str, worker: CommandWorker) -> Iterator[Problem]:
    if not worker.cmd.strip():
        yield error(f"{place}.cmd is empty", "write the command line that starts the server")
    if not _URL.fullmatch(worker.proxy):
        yield error(f'{place}.proxy "{worker.proxy}" is not a URL', "write http://127.0.0.1:${PORT}")
    if worker.check_endpoint != "none" and not worker.check_endpoint.startswith("/"):
        yield error(f'{place}.check_endpoint "{worker.check_endpoint}" is not a path', 'write "/health" or "none"')


def _check_external(place: str, worker: ExternalWorker) -> Iterator[Problem]:
    if not _URL.fullmatch(worker.url):
        yield error(f"{place}.url is not a URL", "write it like http://127.0.0.1:8080/v1")
    if worker.api_key is not None and not _REFERENCE.fullmatch(worker.api_key):
        # the value may be the key itself: it is not repeated here
        yield error(f"{place}.api_key is not a reference: a key never stands in a file", 'write "env:NAME"')


def _check_aliases(settings: Settings, facts: Facts) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    ids = {*settings.models, *(facts.models or ())}
    for model_id, model in settings.models.items():
        place = dotted(("models", model_id, "aliases"))
        for alias in model.aliases:
            if not alias.strip() or not alias.isprintable():
                yield error(f"{place}: {alias!r} cannot be a name: no request could carry it", "remove it")
            elif "@" in alias:
                yield warning(f'{place}: "{alias}" reads like a model on another node', "choose an alias without @")
            if alias in owners:
                yield error(f'{place}: "{alias}" is an alias of {owners[alias]} already', "keep one of the two")
            elif alias in ids:
                yield error(f'{place}: "{alias}" is the id of a model, which always wins', "choose another alias")
            elif alias in (facts.roles or ()):
                yield error(f'{place}: "{alias}" is a role, which always wins', "choose another alias")
            owners.setdefault(alias, model_id)

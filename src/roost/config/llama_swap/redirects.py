"""`selectors` and `profiles`: names that mean one model now and another later.

In roost these are names like roles. A name that is a model's own is never one: it is served by exactly that model.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost.config.llama_swap import reasons
from roost.config.llama_swap.types import Table, refuse
from roost.config.settings import Strategy

#: What it was called before.
_OLD_NAMES = {"balance": "spillover"}


@dataclass(frozen=True)
class Known:
    """Every name of the file that is not a selector's."""

    models: Container[str]
    #: Alias -> physical id.
    aliases: Mapping[str, str]
    #: Names that are roles whatever else they are called.
    reserved: Container[str]

    def has(self, name: str) -> bool:
        return name in self.models or name in self.aliases

    def physical(self, name: str) -> str:
        return self.aliases.get(name, name)


@dataclass
class Redirects:
    selectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Role -> physical id: of selectors that are called like one.
    roles: dict[str, str] = field(default_factory=dict)


def redirects(selectors: Table, profiles: Table, known: Known) -> Redirects:
    """Raises BadConfiguration for what llama-swap refuses, but for names that nobody has: these are told."""
    found = Redirects()
    for name, entry in selectors.each():
        settings = _selector(name, entry, known, selectors.values)
        if settings is None:
            continue
        if name in known.reserved:
            found.roles[name] = known.physical(settings["targets"][0])
            entry.notes.add(entry.place, f'"{name}" is a role, which means one model: {found.roles[name]} for now')
        else:
            found.selectors[name] = settings
    for name, entry in profiles.each():
        pins = _pins(entry, known, found.selectors)
        about = {"description": text} if (text := entry.text("description")) else {}
        entry.tell_the_rest({})
        found.profiles[name] = about | {"pins": pins}
    return found


def _selector(name: str, entry: Table, known: Known, others: Container[str]) -> dict[str, Any] | None:
    if not name.strip():
        raise refuse(entry.place, "a selector needs a name")
    if known.has(name):
        raise refuse(entry.place, f'"{name}" is the name of a model')
    strategy = entry.text("strategy")
    strategy = _OLD_NAMES.get(strategy, strategy)
    if strategy not in list(Strategy):
        raise refuse(entry.at("strategy"), f"one of {', '.join(Strategy)} is expected")
    targets = []
    for target in entry.texts("targets"):
        if target in others:
            raise refuse(entry.at("targets"), f'"{target}" is a selector; one cannot choose another')
        if known.has(target):
            targets.append(target)
        else:
            entry.notes.add(entry.at("targets"), f'there is no model "{target}", so it was left out')
    found = {"strategy": strategy, "targets": targets} | _spillover(entry) | _shown(entry)
    entry.tell_the_rest(reasons.SELECTOR)
    if not targets:
        entry.notes.add(entry.place, "none of its targets is there, so it was left out")
        return None
    return found


def _spillover(entry: Table) -> dict[str, int]:
    """The number of requests from which on the next target gets them; `balance` is the table's older name."""
    settings = entry.table("settings" if entry.has("settings") or not entry.has("balance") else "balance")
    number = settings.whole("spillover", 1, least=1)
    settings.tell_the_rest({})
    return {"spillover": number} if number != 1 else {}


def _shown(entry: Table) -> dict[str, Any]:
    texts = {key: text for key in ("name", "description") if (text := entry.text(key))}
    return texts | ({"unlisted": True} if entry.flag("unlisted", False) else {})


def _pins(entry: Table, known: Known, selectors: Container[str]) -> dict[str, str]:
    pins = entry.table("pins")
    if not pins.values:
        raise refuse(entry.at("pins"), "a profile needs at least one pin")
    found = {}
    for name in pins.values:
        target = pins.text(name)
        if name in known.models:
            entry.notes.add(
                pins.at(name), f'"{name}" is the name of a model, which is always served by itself: it was left out'
            )
        elif name in known.reserved:
            entry.notes.add(pins.at(name), f'it is a role, and was left out; run "roost use {name} ID"')
        elif target and not (known.has(target) or target in selectors):
            entry.notes.add(pins.at(name), f'there is no model "{target}", so it was left out')
        else:
            found[name] = target
    return found

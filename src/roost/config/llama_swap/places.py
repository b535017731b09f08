"""`groups`, or `matrix`, as `[residency]`: who may be loaded together."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from roost.config.layout import UNGROUPED, BadLayout, Layout, layout_of
from roost.config.llama_swap.types import Table, refuse
from roost.config.settings import GroupSettings, ResidencySettings

#: What a group is unless it says otherwise, there as here.
_USUAL = GroupSettings()


def groups(table: Table, known: Container[str]) -> dict[str, dict[str, Any]]:
    """Raises BadConfiguration for a model in two groups. A member that is no model is told and left out."""
    owner: dict[str, str] = {}
    found = {}
    for name, entry in table.each():
        members = []
        for member in entry.texts("members"):
            if member not in known:
                entry.notes.add(entry.at("members"), f'there is no model "{member}", so it was left out')
            elif member in owner:
                raise refuse(entry.at("members"), f'the model "{member}" is in group "{owner[member]}" already')
            else:
                owner[member] = name
                members.append(member)
        group = {"members": members} | _flags(entry)
        entry.tell_the_rest({})
        if name == UNGROUPED:
            entry.notes.add(entry.place, "this is the name of those in no group, whose members it would be anyway")
        elif members:
            found[name] = group
    return found


def _flags(entry: Table) -> dict[str, bool]:
    """Those that differ from what a group usually is."""
    usual = {"swap": _USUAL.swap, "exclusive": _USUAL.exclusive, "persistent": _USUAL.persistent}
    return {key: value for key, default in usual.items() if (value := entry.flag(key, default)) is not default}


def matrix(table: Table, known: Container[str]) -> dict[str, Any]:
    """Names that are no model's are told; a set that means nothing is refused, as there."""
    found: dict[str, Any] = {}
    if names := {name: table.table("vars").text(name) for name in table.table("vars").values}:
        for name, model_id in names.items():
            if model_id not in known:
                raise refuse(f"{table.at('vars')}.{name}", f'there is no model "{model_id}"')
        found["vars"] = names
    costs = table.table("evict_costs")
    if costs.values:
        found["evict_costs"] = {name: costs.whole(name, 1, least=1) for name in costs.values}
    sets = table.table("sets")
    found["sets"] = {name: sets.text(name) for name in sets.values}
    table.tell_the_rest({})
    for name in {*found.get("evict_costs", ())} - {*names}:
        if name not in known:
            raise refuse(costs.at(name), "there is no such model")
    return found


def residency(placed: dict[str, Any], counted: Callable[[str], bool], known: Container[str]) -> dict[str, Any]:
    """`[residency]` with as many places as the groups or sets ever fill. Raises BadConfiguration."""
    layout = layout_among(placed, known)
    most = layout.most(counted) or 1
    return ({"max_resident": most} if most > 1 else {}) | placed


def layout_among(placed: dict[str, Any], known: Container[str]) -> Layout:
    """Raises BadConfiguration for sets that mean nothing or name no model."""
    try:
        return layout_of(ResidencySettings.model_validate(placed), known.__contains__)
    except BadLayout as error:
        raise refuse(".".join(error.key), str(error)) from error

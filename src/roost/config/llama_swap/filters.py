"""`filters` of a model or a peer."""

from __future__ import annotations

from typing import Any

from roost.config.llama_swap.macros import Macros, check_all_known
from roost.config.llama_swap.types import Inline, Table, refuse

#: No filter touches it, here as there.
_PROTECTED = "model"


def filters_of(table: Table, macros: Macros) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What holds for every request, and what holds for requests that use one of the model's names."""
    strip = _stripped(table, macros)
    own: dict[str, Any] = {}
    if strip:
        own["strip"] = strip
    if params := _params(table, table.at("setParams"), table.raw("setParams"), macros):
        own["set"] = params
    by_name = {}
    for name, values in table.table("setParamsByID").values.items():
        place = f"{table.at('setParamsByID')}.{name}"
        full_name = macros.text(name, place)
        check_all_known(place, full_name)
        by_name[full_name] = {"set": _params(table, place, values, macros)}
    table.tell_the_rest({})
    return own, by_name


def _stripped(table: Table, macros: Macros) -> list[str]:
    key = "stripParams" if table.has("stripParams") or not table.has("strip_params") else "strip_params"
    listed = macros.text(table.text(key), table.at(key))
    check_all_known(table.at(key), listed)
    names = (name.strip() for name in listed.split(","))
    return list(dict.fromkeys(name for name in names if name and name != _PROTECTED))


def _params(table: Table, place: str, values: object, macros: Macros) -> Inline:
    if values is None:
        return Inline()
    if not isinstance(values, dict):
        raise refuse(place, "a mapping is expected")
    full = macros.value(values, place)
    check_all_known(place, full)
    if _PROTECTED in full:
        table.notes.add(f"{place}.{_PROTECTED}", "the model's name is never changed by a filter")
    return _without_null(table, place, {key: value for key, value in full.items() if key != _PROTECTED})


def _without_null(table: Table, place: str, values: dict[str, Any]) -> Inline:
    """TOML has no null: members with one are left out and told."""
    for key in [key for key, item in values.items() if item is None]:
        table.notes.add(f"{place}.{key}", "null cannot be written in the settings and was left out")
    return Inline({k: _writable(table, f"{place}.{k}", v) for k, v in values.items() if v is not None})


def _writable(table: Table, place: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _without_null(table, place, value)
    if isinstance(value, list):
        return [_writable(table, place, item) for item in value if item is not None]
    return value

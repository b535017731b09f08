"""Reading the settings: defaults < system file < user file < environment < flags, each value with its origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from roost.api import Problem
from roost.config.layers import (
    Layer,
    Origin,
    environment_layer,
    file_layer,
    flag_layer,
    stray_variables,
)
from roost.config.layout import BadLayout, layout_of
from roost.config.locate import KeyPath
from roost.config.paths import Paths
from roost.config.schema import description_at, dotted, suggestion
from roost.config.settings import Knobs, Settings
from roost.errors import BadConfiguration

#: Values that may be secrets: never printed, neither in a problem nor by `config show`.
_PRIVATE_TABLES = frozenset({"env"})
_PRIVATE_KEYS = frozenset({"api_key"})
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class SettingRow:
    """One line of `roost config show`."""

    key: str
    #: As JSON, which is also TOML for plain values and lists.
    value: str
    origin: Origin


@dataclass(frozen=True)
class LoadedSettings:
    """Valid settings, and where each leaf of them came from."""

    settings: Settings
    #: By dotted key, for each leaf.
    origins: Mapping[str, Origin]
    #: What is suspicious although the settings are valid.
    problems: tuple[Problem, ...] = ()

    def rows(self) -> tuple[SettingRow, ...]:
        """Every leaf with value and origin, in the order of the reference; secrets are masked."""
        return tuple(
            SettingRow(dotted(path), _shown(path, value), self.origins[dotted(path)])
            for path, value in leaves(self.settings)
        )


def load(paths: Paths, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> LoadedSettings:
    """The settings in force. `flags` go by dotted key (`gateway.port`); None among them means not given.

    Raises BadConfiguration whose `problems` name every mistake with file, line and column, or the variable or flag.
    """
    files = (file_layer(paths.system_settings), file_layer(paths.settings))
    layers = (*files, environment_layer(environ, files), flag_layer(flags or {}))
    problems = [problem for layer in layers for problem in layer.problems]
    merged = _merged(layers)
    problems += [_sentence(error, layers) for error in _mistakes(merged)]
    if problems:
        raise BadConfiguration(_summary(problems), problems=tuple(problems))
    settings = _with_typed_knobs(Settings.model_validate(merged))
    _check_layout(settings, layers)
    origins = {dotted(path): _origin(path, layers) for path, _ in leaves(settings)}
    return LoadedSettings(settings, MappingProxyType(origins), _warnings(environ))


def _check_layout(settings: Settings, layers: tuple[Layer, ...]) -> None:
    """What no type can see: groups that overlap, sets that mean nothing."""
    try:
        layout_of(settings.residency)
    except BadLayout as error:
        path = ("residency", *error.key)
        problem = f"{_setter(path, layers).place(path)}: {dotted(path)}: {error}"
        raise BadConfiguration(_summary([problem]), problems=(problem,)) from error


def _with_typed_knobs(settings: Settings) -> Settings:
    """The free tables of knobs with their values as the types read them: "3" of a variable becomes 3."""
    engines = {name: _typed(table) for name, table in settings.engines.items()}
    models = {
        name: model.model_copy(update={"engine": _typed(model.engine)}) for name, model in settings.models.items()
    }
    return settings.model_copy(update={"engines": engines, "models": models})


def _typed(knobs: Mapping[str, Any]) -> dict[str, Any]:
    return Knobs.model_validate(knobs).model_dump(exclude_unset=True)


def leaves(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    """Each value of the settings with its path; an empty table is a leaf."""
    return _leaves((), settings)


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _leaves((*path, key), getattr(value, key))
    elif isinstance(value, Mapping) and value:
        for key in value:
            yield from _leaves((*path, str(key)), value[key])
    else:
        yield path, value


def _merged(layers: tuple[Layer, ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _overlaid(merged, layer.values)
    return merged


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; lists and plain values are replaced."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = _overlaid(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return result


def _mistakes(merged: Mapping[str, Any]) -> Iterator[ErrorDetails]:
    """Everything that the types refuse, the partial tables of knobs included."""
    yield from _errors(Settings, merged, ())
    for name, knobs in _tables(merged.get("engines")):
        yield from _errors(Knobs, knobs, ("engines", name))
    for name, model in _tables(merged.get("models")):
        if isinstance(own := model.get("engine"), Mapping):
            yield from _errors(Knobs, own, ("models", name, "engine"))


def _tables(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield from ((name, table) for name, table in value.items() if isinstance(table, Mapping))


def _errors(model: type[BaseModel], values: Mapping[str, Any], prefix: KeyPath) -> Iterator[ErrorDetails]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_context=False):
            yield {**details, "loc": (*prefix, *details["loc"])}


def _sentence(error: ErrorDetails, layers: tuple[Layer, ...]) -> str:
    """One mistake for people: its place, what is wrong, what is right."""
    path = _key_path(error["loc"])
    setter = _setter(path[:-1] if error["type"] == "missing" else path, layers)
    return f"{setter.place(path)}: {_wrong(error, path)}"


def _wrong(error: ErrorDetails, path: KeyPath) -> str:
    if error["type"] == "extra_forbidden":
        table = f" in [{dotted(path[:-1])}]" if path[:-1] else ""
        return f'unknown key "{path[-1]}"{table}{suggestion(path)}'
    if error["type"] == "missing":
        return f'[{dotted(path[:-1])}] needs the key "{path[-1]}"'
    reason = error["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    why = description_at(path)
    return f"{dotted(path)} = {_shown(path, error['input'])}: {reason}" + (f" ({why.rstrip('.')})" if why else "")


def _key_path(location: tuple[int | str, ...]) -> KeyPath:
    """The keys of a location; the index of a list's item is left off."""
    keys: list[str] = []
    for part in location:
        if not isinstance(part, str):
            break
        keys.append(part)
    return tuple(keys)


def _setter(path: KeyPath, layers: tuple[Layer, ...]) -> Layer:
    """The last layer that says anything about the path."""
    return next((layer for layer in reversed(layers) if layer.has(path)), layers[-1])


def _origin(path: KeyPath, layers: tuple[Layer, ...]) -> Origin:
    return next((layer.origin(path) for layer in reversed(layers) if layer.has(path)), Origin())


def _shown(path: KeyPath, value: object) -> str:
    if value is not None and (path[-1] in _PRIVATE_KEYS or _PRIVATE_TABLES & set(path[:-1])):
        return '"(not shown)"'
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _warnings(environ: Mapping[str, str]) -> tuple[Problem, ...]:
    return tuple(
        Problem(severity="warning", text=f"{name} sets nothing", mend=f"rename it to {right}")
        for name, right in stray_variables(environ)
    )


def _summary(problems: list[str]) -> str:
    more = f" (and {len(problems) - 1} more: roost config check)" if len(problems) > 1 else ""
    return f"cannot use the settings: {problems[0]}{more}"

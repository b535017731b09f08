"""The shape of the settings as data: which keys may stand where, and how a key is written."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from roost.config.locate import KeyPath
from roost.config.settings import Knobs, ModelSettings, Settings

#: Engines that a setting may name.
ENGINE_NAMES = ("llama.cpp", "mlx-lm", "vllm-mlx", "external", "command")

#: Tables that hold single knobs over the wider ones: declared as free tables, read as Knobs.
_KNOB_TABLES: dict[tuple[type[BaseModel], str], Any] = {
    (Settings, "engines"): dict[str, Knobs],
    (ModelSettings, "engine"): Knobs,
}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CLOSE_ENOUGH = 0.6
#: Longer lists of keys are not read.
_MOST_SHOWN = 28


def dotted(path: Iterable[str]) -> str:
    """A key as TOML writes it: `models."org/name".engine.context`."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path)


def field_type(model: type[BaseModel], key: str) -> Any:
    """The type behind one key of a table, without Optional; None when there is no such key."""
    if (model, key) in _KNOB_TABLES:
        return _KNOB_TABLES[model, key]
    field = model.model_fields.get(key)
    return None if field is None else _unwrap(field.annotation)


def type_at(path: KeyPath) -> Any:
    """The type of the value at `path`; Any inside free tables, None where no key may stand."""
    current: Any = Settings
    for part in path:
        if is_model(current):
            current = field_type(current, part)
        elif get_origin(current) is dict:
            current = _unwrap(get_args(current)[1])
        elif current is not Any:
            return None
    return current


def keys_at(path: KeyPath) -> tuple[str, ...]:
    """The keys of the table at `path`; empty for a free table or a plain value."""
    found = type_at(path)
    return tuple(found.model_fields) if is_model(found) else ()


def is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def description_at(path: KeyPath) -> str | None:
    """What the settings reference says of a key."""
    table = type_at(path[:-1])
    if not path or not is_model(table) or path[-1] not in table.model_fields:
        return None
    description: str | None = table.model_fields[path[-1]].description
    return description


def suggestion(path: KeyPath) -> str:
    """`; did you mean …?` for a key that is not known at its place; empty when nothing is near."""
    table, key = path[:-1], path[-1]
    near = difflib.get_close_matches(key.replace("-", "_").lower(), keys_at(table), 1, _CLOSE_ENOUGH)
    if near:
        return f'; did you mean "{near[0]}"?'
    elsewhere = [known for known in _fixed_keys() if known[-1] == key]
    if elsewhere:
        return f'; did you mean "{dotted(elsewhere[0])}"?'
    known = keys_at(table)
    return f"; known there: {', '.join(known)}" if 0 < len(known) <= _MOST_SHOWN else ""


def _fixed_keys() -> Iterator[KeyPath]:
    """The paths of all settings outside tables that users name."""
    for section in Settings.model_fields:
        yield (section,)
        for key in keys_at((section,)):
            yield (section, key)


def _unwrap(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        present = [part for part in get_args(annotation) if part is not type(None)]
        return _unwrap(present[0]) if len(present) == 1 else Any
    return annotation

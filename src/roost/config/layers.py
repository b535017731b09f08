"""One source of settings each: a file, the environment, flags. Values only; what they mean is checked once merged."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, get_origin

from roost.config.locate import KeyPath, Position, key_positions, position_at
from roost.config.schema import ENGINE_NAMES, is_model, type_at
from roost.config.settings import Settings

#: These move files and are no settings; see `roost.config.paths`.
PATH_VARIABLES = frozenset({"ROOST_HOME", "ROOST_CONFIG", "ROOST_REGISTRY", "ROOST_STATE", "ROOST_MODELS"})
_PREFIX = "ROOST_"
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_MISSING = object()


class OriginKind(StrEnum):
    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True)
class Origin:
    """Where a value came from."""

    kind: OriginKind = OriginKind.DEFAULT
    #: `file:line` or the name of the variable.
    place: str = ""

    def __str__(self) -> str:
        match self.kind:
            case OriginKind.FILE:
                return self.place
            case OriginKind.ENVIRONMENT:
                return f"{self.kind} {self.place}"
            case _:
                return str(self.kind)


@dataclass(frozen=True)
class Layer:
    """The values of one source, as a nested table."""

    kind: OriginKind
    values: Mapping[str, Any]
    #: File layers: the file and its keys' positions.
    file: Path | None = None
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)
    #: Environment: which variable set a path.
    variables: Mapping[KeyPath, str] = field(default_factory=dict)
    #: What could not be read at all, one sentence each.
    problems: tuple[str, ...] = ()

    def has(self, path: KeyPath) -> bool:
        return value_at(self.values, path, _MISSING) is not _MISSING

    def origin(self, path: KeyPath) -> Origin:
        return Origin(self.kind, self._place(path, with_column=False))

    def place(self, path: KeyPath) -> str:
        """Where to look for the mistake: `file:line:column`, the variable, or the flag."""
        return self._place(path, with_column=True) or f"flag {'.'.join(path)}"

    def _place(self, path: KeyPath, *, with_column: bool) -> str:
        if self.kind is OriginKind.ENVIRONMENT:
            return self._variable(path)
        if self.file is None:
            return ""
        found = next((self.positions[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.positions), None)
        if found is None:
            return str(self.file)
        return f"{self.file}:{found.line}:{found.column}" if with_column else f"{self.file}:{found.line}"

    def _variable(self, path: KeyPath) -> str:
        """The variable that set the path, something around it, or something in it."""
        around = [name for set_path, name in self.variables.items() if path[: len(set_path)] == set_path]
        inside = [name for set_path, name in self.variables.items() if set_path[: len(path)] == path]
        return next(iter(around[-1:] + inside), _PREFIX + "__".join(path).upper())


def value_at(values: Mapping[str, Any], path: KeyPath, default: object = None) -> Any:
    """The value at a path of a nested table."""
    current: Any = values
    for part in path:
        if not isinstance(current, Mapping) or part not in current:
            return default
        current = current[part]
    return current


def file_layer(path: Path) -> Layer:
    """The settings of one TOML file; a file that is not there sets nothing."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return Layer(OriginKind.FILE, tomllib.loads(text), file=path, positions=key_positions(text))
    except FileNotFoundError:
        return Layer(OriginKind.FILE, {}, file=path)
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        where = position_at(error.object[: error.start].decode(), error.start)
        problem = f"{path}:{where.line}:{where.column}: is not UTF-8; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"{path}:{_syntax_place(str(error), text)}: {_TOML_PLACE.sub('', str(error))}"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        problem = f"{path}: cannot be read as TOML: {error}"
    return Layer(OriginKind.FILE, {}, file=path, problems=(problem,))


def _syntax_place(message: str, text: str) -> str:
    found = _TOML_PLACE.search(message)
    if found and found[1]:
        return f"{found[1]}:{found[2]}"
    end = position_at(text, len(text))
    return f"{end.line}:{end.column}"


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """Flags by dotted key, such as `gateway.port`; None means that the flag was not given."""
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if value is not None:
            put(values, tuple(key.split(".")), value)
    return Layer(OriginKind.FLAG, values)


def environment_layer(environ: Mapping[str, str], below: Iterable[Layer] = ()) -> Layer:
    """`ROOST_SECTION__KEY=value`; lists and tables as JSON. An empty variable sets nothing.

    `below` are the layers whose names of engines, roles and models a variable may mean: no shell can spell
    `vllm-mlx` in a variable, so `ROOST_ENGINES__VLLM_MLX__…` is matched letter by letter and digit by digit.
    """
    lower = tuple(below)
    values: dict[str, Any] = {}
    variables: dict[KeyPath, str] = {}
    problems: list[str] = []
    for name in sorted(environ):
        if not environ[name] or not _is_setting(name):
            continue
        path = _variable_path(name.removeprefix(_PREFIX).split("__"), lower)
        try:
            put(values, path, _parsed(environ[name], type_at(path)))
        except ValueError as error:
            problems.append(f"{name}: {error}")
        variables[path] = name
    return Layer(OriginKind.ENVIRONMENT, values, variables=variables, problems=tuple(problems))


def stray_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that look like a setting spelled wrongly, with the right name: (ROOST_PORT, ROOST_GATEWAY__PORT)."""
    meant: dict[str, str] = {}
    for section in Settings.model_fields:
        table = type_at((section,))
        for key in table.model_fields if is_model(table) else ():
            right = f"{_PREFIX}{section}__{key}".upper()
            meant.setdefault(f"{_PREFIX}{key}".upper(), right)
            meant[f"{_PREFIX}{section}_{key}".upper()] = right
    known = PATH_VARIABLES | {f"{_PREFIX}{section}".upper() for section in Settings.model_fields}
    return [(name, meant[name]) for name in sorted(environ) if name in meant and name not in known and environ[name]]


def _is_setting(name: str) -> bool:
    if not name.startswith(_PREFIX) or name in PATH_VARIABLES:
        return False
    rest = name.removeprefix(_PREFIX)
    return "__" in rest or rest.lower() in Settings.model_fields


def _variable_path(parts: list[str], below: tuple[Layer, ...]) -> KeyPath:
    path: KeyPath = ()
    for part in parts:
        path = (*path, part.lower() if is_model(type_at(path)) else _table_key(path, part, below))
    return path


def _table_key(path: KeyPath, part: str, below: tuple[Layer, ...]) -> str:
    """A key of a table that users name: as a lower layer or the list of engines spells it."""
    named = [key for layer in below if isinstance(table := value_at(layer.values, path), Mapping) for key in table]
    if path == ("engines",):
        named += ENGINE_NAMES
    for key in named:
        if _letters(key) == _letters(part):
            return str(key)
    if path == ("roles",):
        return part.lower().replace("_", "-")
    return part if path == ("models",) or path[-1:] == ("env",) else part.lower()


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _parsed(text: str, wanted: Any) -> Any:
    """Lists and tables are JSON, free values JSON where they can be; the rest is left to the settings' own types."""
    if wanted is Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    origin = get_origin(wanted) or wanted
    if origin is not tuple and origin is not dict and not is_model(wanted):
        return text
    example = '["a", "b"]' if origin is tuple else '{"key": "value"}'
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error}); write it like {example}") from error
    if not isinstance(value, list if origin is tuple else dict):
        raise ValueError(f"must be JSON like {example}")
    return value


def put(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Sets a value in a nested table; a plain value in the way gives place."""
    for part in path[:-1]:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[path[-1]] = value

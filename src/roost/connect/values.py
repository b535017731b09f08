"""Settings as plain values: looking a path up, and what a value is after a change. Nothing is changed in place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from roost.connect.types import CannotEdit, Edit, Item, Path, Step, dotted

MISSING = object()


def step_into(value: Any, step: Step) -> Any:
    """What is there, or MISSING. The last of two elements with one name counts, as the last of two keys does."""
    if isinstance(step, str):
        return value.get(step, MISSING) if isinstance(value, dict) else MISSING
    if not isinstance(value, list):
        return MISSING
    return next((each for each in reversed(value) if named(each, step)), MISSING)


def named(value: Any, item: Item) -> bool:
    return isinstance(value, dict) and value.get(item.key) == item.name


def look_up(value: Any, path: Path) -> Any:
    for step in path:
        value = step_into(value, step)
    return value


def depth_of(value: Any, path: Path) -> int:
    """How many steps of the path are there."""
    for depth, step in enumerate(path):
        value = step_into(value, step)
        if value is MISSING:
            return depth
    return len(path)


def put(value: Any, path: Path, new: Any) -> Any:
    """The value with `new` at `path`. Raises CannotEdit where something else than a mapping or a list is in the way."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    there = step_into(value, step)
    inner = put(None if there is MISSING else there, rest, new)
    if isinstance(step, str):
        if value is not None and not isinstance(value, dict):
            raise CannotEdit(f'no place for "{dotted(path)}": what is around it is no table of keys')
        return {**(value or {}), step: inner}
    if value is not None and not isinstance(value, list):
        raise CannotEdit(f'no place for "{dotted(path)}": what is around it is no list')
    inner = {step.key: step.name, **inner}
    if there is MISSING:
        return [*(value or []), inner]
    return [inner if each is there else each for each in value or []]


def nested(path: Path, value: Any) -> Any:
    """What must be inserted so that `value` is at `path` of it."""
    return put(None, path, value)


def drop(value: Any, path: Path) -> Any:
    step, rest = path[0], path[1:]
    there = step_into(value, step)
    if there is MISSING:
        return value
    if isinstance(step, str):
        if rest:
            return {**value, step: drop(there, rest)}
        return {key: each for key, each in value.items() if key != step}
    if rest:
        return [drop(each, rest) if each is there else each for each in value]
    return [each for each in value if each is not there]


def says_nothing(value: Any, step: Step) -> bool:
    """Nothing is left in it but its own name."""
    if isinstance(step, Item):
        return bool(value == {step.key: step.name})
    return value is None or value in ({}, [])


def digest(value: Any) -> str:
    """The same for equal values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def edits_of(value: Any, path: Path = (), secrets: Iterable[Path] = ()) -> tuple[Edit, ...]:
    """One edit for each leaf of nested tables: what a user has added beside them stays. Lists are leaves."""
    if isinstance(value, dict):
        return tuple(edit for key, each in value.items() for edit in edits_of(each, (*path, key), secrets))
    return (Edit(path=path, value=value, secret=path in set(secrets)),)

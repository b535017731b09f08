"""What the parts of the import hand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from roost.errors import BadConfiguration

#: What YAML calls a truth value where one is expected.
_WORDS_FOR_TRUE, _WORDS_FOR_FALSE = ("yes", "on", "y"), ("no", "off", "n")


class Inline(dict[str, Any]):
    """A table that is written on one line: what a request body gets."""


@dataclass(frozen=True)
class Imported:
    """All that a config.yaml becomes."""

    toml: str
    #: Role -> physical id, for roles that the registry does not have yet.
    roles: Mapping[str, str]
    #: Keys that clients present.
    keys: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()
    models: int = 0
    aliases: int = 0


@dataclass
class Notes:
    """The warnings, in the order of the file."""

    lines: list[str] = field(default_factory=list)

    def add(self, place: str, text: str) -> None:
        self.lines.append(f"{place}: {text}")


def refuse(place: str, text: str) -> BadConfiguration:
    """What makes the whole file unusable, as llama-swap itself would say."""
    problem = f"{place}: {text}"
    return BadConfiguration(f"cannot import the configuration: {problem}; nothing was written", problems=(problem,))


class Table:
    """One mapping of the file, read key by key; what nobody read is told at the end."""

    def __init__(self, place: str, values: object, notes: Notes) -> None:
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise refuse(place or "the file", f"a mapping is expected, not {_kind(values)}")
        self.place, self.values, self.notes = place, values, notes
        self._read: set[str] = set()

    def at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def raw(self, key: str) -> Any:
        self._read.add(key)
        return self.values.get(key)

    def table(self, key: str) -> Table:
        return Table(self.at(key), self.raw(key), self.notes)

    def text(self, key: str, default: str = "") -> str:
        """A string; a number or truth value counts as its spelling, as in llama-swap."""
        value = self._typed(key, (str, int, float), "text", default)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def whole(self, key: str, default: int, least: int = 0) -> int:
        value: int = self._typed(key, (int,), "a whole number", default)
        if isinstance(value, bool) or value < least:
            raise refuse(self.at(key), f"{value} is not a whole number from {least} on")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._typed(key, (bool, str), "true or false", default)
        if isinstance(value, bool):
            return value
        if value.lower() in (*_WORDS_FOR_TRUE, *_WORDS_FOR_FALSE):
            return value.lower() in _WORDS_FOR_TRUE
        raise refuse(self.at(key), "true or false is expected")

    def items(self, key: str) -> list[Any]:
        value: list[Any] = self._typed(key, (list,), "a list", [])
        return value

    def texts(self, key: str) -> list[str]:
        found = self.items(key)
        if any(isinstance(item, dict | list) or item is None for item in found):
            raise refuse(self.at(key), "a list of strings is expected")
        return [str(item) for item in found]

    def _typed(self, key: str, kinds: tuple[type, ...], wanted: str, default: Any) -> Any:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, kinds):
            raise refuse(self.at(key), f"{wanted} is expected, not {_kind(value)}")
        return value

    def each(self) -> Iterator[tuple[str, Table]]:
        """A mapping of mappings: each name with its own table."""
        for name, value in self.values.items():
            yield name, Table(self.at(name), value, self.notes)

    def tell_the_rest(self, reasons: Mapping[str, str]) -> None:
        """A warning for each key that was not read: why roost does not have it, or that nobody knows it."""
        for key in self.values:
            if key in self._read:
                continue
            if key in reasons:
                self.notes.add(self.at(key), reasons[key])
                continue
            near = get_close_matches(key, [*self._read, *reasons], 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            self.notes.add(self.at(key), f"this key is not known and was left out{hint}")


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else "a single value"

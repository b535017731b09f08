"""`${name}`: llama-swap's macros, the last declared filled in first, so that each may use those before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from roost.config.llama_swap.types import refuse

RESERVED = ("PORT", "MODEL_ID", "PID")
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME = 63
_REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_-]+)\}")


class Macros:
    """Names and values in the order of their declaration."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    @classmethod
    def declared(cls, place: str, values: Mapping[str, Any]) -> Macros:
        """Raises BadConfiguration for a name or a value that llama-swap refuses."""
        for name, value in values.items():
            _check(f"{place}.{name}", name, value)
        return cls(values)

    def over(self, wider: Macros) -> Macros:
        """These, and the wider ones that they do not replace; a replaced one keeps its rank."""
        return Macros({**wider._values, **self._values})

    def with_model_id(self, model_id: str) -> Macros:
        return Macros({"MODEL_ID": model_id, **self._values})

    def text(self, text: str, place: str) -> str:
        """The text with every macro filled in."""
        for name in reversed(self._values):
            if f"${{{name}}}" in text:
                text = text.replace(f"${{{name}}}", _spelt(self._values[name], f"{place}: ${{{name}}}"))
        return text

    def value(self, value: Any, place: str) -> Any:
        """The same for every string in a structure; a string that is one macro takes over its type."""
        if isinstance(value, str):
            return self._whole(value, place)
        if isinstance(value, list):
            return [self.value(item, place) for item in value]
        if isinstance(value, dict):
            return {self.text(key, place): self.value(item, place) for key, item in value.items()}
        return value

    def _whole(self, text: str, place: str) -> Any:
        for name in reversed(self._values):
            found = self._values[name]
            if text == f"${{{name}}}":
                return self.value(found, place) if isinstance(found, dict) else self._again(found, place)
            if f"${{{name}}}" in text:
                text = text.replace(f"${{{name}}}", _spelt(found, f"{place}: ${{{name}}}"))
        return text

    def _again(self, found: Any, place: str) -> Any:
        """A macro's text may name earlier macros."""
        return self._whole(found, place) if isinstance(found, str) else found


def left_over(value: Any) -> list[str]:
    """Names of macros that nobody declared, wherever they stand in a structure."""
    if isinstance(value, str):
        return _REFERENCE.findall(value)
    if isinstance(value, dict):
        return [name for item in (*value, *value.values()) for name in left_over(item)]
    return [name for item in value for name in left_over(item)] if isinstance(value, list) else []


def check_all_known(place: str, value: Any, allowed: Iterable[str] = ()) -> None:
    """Raises BadConfiguration naming the first macro that is not known here."""
    for name in left_over(value):
        if name not in allowed:
            why = "is only known while a command starts" if name in RESERVED else "is not declared"
            raise refuse(place, f"the macro ${{{name}}} {why}")


def _check(place: str, name: str, value: Any) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise refuse(place, f"a macro's name has 1 to {_LONGEST_NAME} letters, digits, dashes and underscores")
    if name in RESERVED:
        raise refuse(place, "this name is reserved")
    if not isinstance(value, str | int | float | bool | dict):
        raise refuse(place, "a macro is text, a number, true or false, or a mapping")
    if name in left_over(value):
        raise refuse(place, "the macro refers to itself")


def _spelt(value: Any, place: str) -> str:
    if isinstance(value, dict):
        raise refuse(place, "a macro that is a mapping can only be the whole value")
    return str(value).lower() if isinstance(value, bool) else str(value)

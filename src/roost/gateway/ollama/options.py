"""Ollama's `options`: what engines know by this or another name, and what is left aside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType

#: Engines read them under the same name.
_SAME = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop"),
    *("presence_penalty", "frequency_penalty", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta"),
)
#: llama.cpp reads the first, the MLX engines the second; each passes over the other one.
_REPEAT_PENALTY = ("repeat_penalty", "repetition_penalty")


@dataclass(frozen=True)
class Options:
    """`fields` of our body; `window` is num_ctx, which is only checked; `ignored` are names that change nothing."""

    fields: Mapping[str, Any]
    window: int | None
    ignored: tuple[str, ...]


def read_options(given: object) -> Options:
    """Raises InvalidType for options that are no object, or counts that are no numbers."""
    values = given if given is not None else {}
    if not isinstance(values, dict):
        raise InvalidType("`options` must be an object", param="options")
    values = {key: value for key, value in values.items() if value is not None}
    fields = {key: _number(values[key]) for key in _SAME if key in values}
    if "repeat_penalty" in values:
        fields |= dict.fromkeys(_REPEAT_PENALTY, values["repeat_penalty"])
    if (most := _count(values, "num_predict")) is not None and most > 0:
        # -1 and -2 mean "until the end", which is what no limit means.
        fields["max_tokens"] = most
    known = {*_SAME, "repeat_penalty", "num_predict"}
    return Options(fields, _count(values, "num_ctx"), tuple(sorted(set(values) - known)))


def _number(value: object) -> object:
    """Clients of dynamic languages send 40.0 where a whole number is meant."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _count(values: Mapping[str, Any], key: str) -> int | None:
    value = _number(values.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(f"`options.{key}` must be a whole number", param="options")
    return value

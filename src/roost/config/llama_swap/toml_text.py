"""A nested dict as TOML that people go on editing. It writes exactly what an import makes, no more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from roost.config.llama_swap.types import Inline
from roost.config.schema import dotted

_DELETE = "\x7f"


def toml_text(document: Mapping[str, Any]) -> str:
    """Tables in the order of the dict, values before the tables inside them."""
    return "\n".join(_table((), document)) + "\n"


def _table(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if not _is_table(value)}
    if path and plain:
        yield f"\n[{dotted(path)}]"
    for key, value in plain.items():
        yield f"{dotted((key,))} = {_value(value)}"
    for key, value in values.items():
        if _is_table(value):
            yield from _table((*path, key), value)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and not isinstance(value, Inline)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _many_lines(value) if "\n" in value else _one_line(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{dotted((key,))} = {_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return repr(value)


def _one_line(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace(_DELETE, "\\u007f")


def _many_lines(text: str) -> str:
    body = "\n".join(_one_line(line)[1:-1] for line in text.split("\n"))
    # Three quotes in a row would end the string, but each quote is escaped already.
    return f'"""\n{body}"""'

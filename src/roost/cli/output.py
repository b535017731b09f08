"""What a command prints: answers on standard output, everything said beside them on standard error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import typer
from pydantic import BaseModel


@dataclass(frozen=True)
class Paint:
    """Adds colour to words that say the same without it."""

    enabled: bool

    def bad(self, text: str) -> str:
        return self._styled(text, "red")

    def careful(self, text: str) -> str:
        return self._styled(text, "yellow")

    def good(self, text: str) -> str:
        return self._styled(text, "green")

    def faint(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.enabled else text

    def strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.enabled else text

    def _styled(self, text: str, colour: str) -> str:
        return typer.style(text, fg=colour) if self.enabled else text


def paint_for(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Paint:
    """Colour only on a terminal that wants it: `NO_COLOR` (no-color.org) and `TERM=dumb` switch it off."""
    wanted = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Paint(wanted and stream.isatty())


def say(text: str) -> None:
    """A line of the command's answer."""
    typer.echo(text)


def say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def note(text: str) -> None:
    """A line beside the answer: what happens next, warnings, progress."""
    typer.echo(text, err=True)


def say_json(value: Any) -> None:
    """One JSON document, two spaces deep, for `jq` and for eyes."""
    say(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value as JSON types: models dumped, paths and enums as strings, sets sorted."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)

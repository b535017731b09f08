"""Values of this room: where a setting stands in a file, what it shall be, and what was there before."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from roost.errors import BadConfiguration


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Shape):
    """The element of a list whose `key` says `name`."""

    key: str
    name: str

    def __str__(self) -> str:
        return f"[{self.key}={self.name}]"


#: A key of a mapping, or an element of a list.
Step = str | Item
Path = tuple[Step, ...]


class Edit(Shape):
    """One setting and its new value."""

    path: Path
    value: Any
    #: Not shown, and not written down anywhere but in the client's file.
    secret: bool = False
    #: Set only where the file says nothing about it.
    unless_there: bool = False


class Kept(Shape):
    """What one setting was before, so that it can become that again."""

    path: Path
    #: SHA-256 of what roost wrote, as JSON: a key may be in it.
    wrote: str
    #: How many steps of the path were there before; all of them: `earlier` is the value.
    depth: int
    earlier: Any = None

    @property
    def was_there(self) -> bool:
        return self.depth == len(self.path)


class Record(Shape):
    """What roost did to the settings of one client."""

    client: str
    file: str
    kept: tuple[Kept, ...]
    #: SHA-256 of the whole text that roost left behind.
    left: str
    #: Whether the backup is the file without anything of roost's: only then it may be put back whole.
    whole: bool
    was_absent: bool
    #: Permission bits before; None: there was no file.
    mode: int | None = None
    #: Public id of the key that was made for this client and stands in its settings.
    key_id: str | None = None


class Format(StrEnum):
    JSON = "JSON"
    JSONC = "JSON with comments"
    TOML = "TOML"
    YAML = "YAML"


class BrokenText(BadConfiguration):
    """The settings of a client cannot be read."""

    def __init__(self, line: int, column: int, why: str) -> None:
        super().__init__(f"line {line}, column {column}: {why}")
        self.line = line
        self.column = column
        self.why = why


class CannotEdit(BadConfiguration):
    """The text is well-formed, but a setting has a place where roost cannot put it."""


class Editor(Protocol):
    """Changes the text of one format and leaves all else in it as it stands."""

    def read(self, text: str) -> Any:
        """The value of the whole text; None: it says nothing. Raises BrokenText."""

    def put(self, text: str, path: Path, value: Any) -> str:
        """Sets one value, with what must be around it. Raises BrokenText, CannotEdit."""

    def drop(self, text: str, path: Path) -> str:
        """Takes one setting out, which is there. Raises BrokenText, CannotEdit."""


def dotted(path: Path) -> str:
    """`models[name=roost].apiBase`, for people."""
    return "".join(str(step) if isinstance(step, Item) else f".{step}" for step in path).removeprefix(".")

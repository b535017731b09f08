"""What a client is to this room: where its settings are, and what they must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path as FilePath

from roost.connect.types import Edit, Format, Path


class Kind(StrEnum):
    AGENT = "agent"
    CHAT = "chat"


#: The role that a client gets unless somebody says otherwise.
ROLES = {Kind.AGENT: "coding", Kind.CHAT: "default"}
#: The variable that settings name when a key is needed and nobody named another.
KEY_VARIABLE = "ROOST_API_KEY"
#: For clients that insist on a key where none is needed.
NO_KEY = "none"


@dataclass(frozen=True)
class KeyInVariable:
    """The client shall read its key from the environment."""

    name: str


@dataclass(frozen=True)
class KeyItself:
    secret: str = field(repr=False)


Key = KeyInVariable | KeyItself | None


@dataclass(frozen=True)
class Target:
    """What a client is to be pointed at."""

    #: Without `/v1`.
    base_url: str
    #: A role or a physical id.
    model: str
    #: The model's window; None: not known now.
    context_tokens: int | None
    #: None: this endpoint needs none.
    key: Key

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/v1"


@dataclass(frozen=True)
class Setup:
    """What one client needs."""

    edits: tuple[Edit, ...] = ()
    #: Variables for a client without a file of settings, or instead of it.
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """This user's folders."""

    home: FilePath
    #: Where programs keep their settings: `~/.config`, or as XDG_CONFIG_HOME says.
    config: FilePath
    #: The same for programs that follow the system: `~/Library/Application Support` on macOS.
    application: FilePath
    environ: Mapping[str, str]

    def moved_by(self, variable: str, default: FilePath) -> FilePath:
        """A folder that a variable of its program moves."""
        value = self.environ.get(variable)
        return FilePath(value).expanduser().absolute() if value else default


class Reference(StrEnum):
    """How a client comes to a key that does not stand in its settings."""

    #: Its settings name a variable.
    VARIABLE = "variable"
    #: It has one variable of its own.
    FIXED_VARIABLE = "fixed variable"
    #: It has a place of its own for keys.
    STORE = "store"
    #: There is no such way.
    NONE = "none"


@dataclass(frozen=True)
class Client:
    name: str
    title: str
    kind: Kind
    setup: Callable[[Target], Setup]
    #: None: it keeps its settings in no file that others may write.
    format: Format | None
    file: Callable[[Places], FilePath] | None
    #: Where its settings say which address is asked.
    address_at: Path
    reference: Reference
    #: Whether a key may stand in its settings.
    holds_key: bool
    #: Names that mean something else to it.
    own_names: frozenset[str] = frozenset()

    @property
    def role(self) -> str:
        return ROLES[self.kind]

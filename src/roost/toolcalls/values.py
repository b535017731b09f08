"""What the room speaks of: tools, calls, findings, and why a text is no call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How much may be taken for a call (`x-roost-tools`)."""

    #: Nothing: the engine's bytes pass.
    OFF = "off"
    #: The markers of the model's own family.
    MARKER = "marker"
    #: Every family's markers, and a whole message in the shape of a call.
    FULL = "full"


class Tier(StrEnum):
    """How a call was told apart from text."""

    #: The engine's own structure, mended.
    ENGINE = "T0"
    #: A native marker.
    MARKER = "T1"
    #: The shape of the entire message.
    SHAPE = "T2"


class Reason(StrEnum):
    """Why what looked like a call is none. Nothing of it is changed then."""

    TRUNCATED = "truncated"
    UNKNOWN_TOOL = "unknown_tool"
    SCHEMA = "schema"
    TRAILING_TEXT = "trailing_text"
    TOO_DEEP = "too_deep"
    MALFORMED = "malformed"
    #: Longer than what is held back.
    GAVE_UP = "gave_up"


class NoCall(Exception):
    """This text is no call. `reason` TRUNCATED means that more text might still make it one."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        #: Why, in words for the model that wrote it. They may quote its arguments: they are never logged.
        self.detail = detail


@dataclass(frozen=True)
class Tool:
    """One function that a request offers; `schema` is its JSON schema, {} when it has none."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared(self) -> Mapping[str, Any] | None:
        """The schemas of its parameters by name; None: it says nothing about them."""
        properties = self.schema.get("properties")
        return properties if isinstance(properties, dict) else None


@dataclass(frozen=True)
class Tools:
    """The tools of one request."""

    by_name: Mapping[str, Tool]
    #: A name that was not sent is one too, of a tool that says nothing about its parameters.
    is_open: bool = False

    @classmethod
    def of(cls, listed: Sequence[Any]) -> Tools:
        """From a request's `tools`; entries that are no functions are left out."""
        found: dict[str, Tool] = {}
        for entry in listed:
            function = entry.get("function") if isinstance(entry, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                continue
            schema = function.get("parameters")
            found[function["name"]] = Tool(function["name"], schema if isinstance(schema, dict) else {})
        return cls(found)

    def only(self, name: str) -> Tools:
        """Of one name alone. Raises KeyError."""
        return Tools({name: self.by_name[name]})

    def opened(self) -> Tools:
        """The same, and any other name."""
        return Tools(self.by_name, is_open=True)

    def tool(self, name: str) -> Tool:
        """Raises KeyError for a name that is none of theirs."""
        return self.by_name[name] if name in self.by_name or not self.is_open else Tool(name)

    def __bool__(self) -> bool:
        return bool(self.by_name)


@dataclass(frozen=True)
class RawCall:
    """A call as it was written: its name may be decorated, its arguments may be of any kind."""

    name: str
    arguments: Any
    #: The arguments' own JSON text, where that is sound; it is kept to the byte.
    raw: str | None = None
    id: str | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolCall:
    """A call that may be made: a declared name, arguments that the schema accepts."""

    name: str
    #: JSON text.
    arguments: str
    #: The model's own; None: it gave none.
    id: str | None = None


@dataclass(frozen=True)
class Refusal:
    """An answer that is nothing but calls in sound form, one of which may not be made."""

    tier: Tier
    reason: Reason
    #: As of NoCall.
    detail: str


@dataclass(frozen=True)
class Finding:
    """What became of a text. Without calls all of it is plain, and `reason` says whether something looked like one."""

    #: So many characters from the start stay what they are.
    kept: int
    calls: tuple[ToolCall, ...] = ()
    tier: Tier | None = None
    #: What was done, for the label; never values.
    steps: tuple[str, ...] = ()
    reason: Reason | None = None
    #: Text for the reader that stood among the markers.
    content: str = ""
    reasoning: str = ""
    #: What its model may be asked again about; only where that is wanted.
    refusal: Refusal | None = None

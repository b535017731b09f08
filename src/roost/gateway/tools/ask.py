"""What a request demands of calls and formats, beyond what its engine does by itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, MissingParameter, Refused
from roost.gateway.filters import BodyPolicy
from roost.toolcalls.values import Mode, Reason, Tools

HEADER = "x-roost-tools"
#: Behind the mode: say in the last chunk of a stream what was done.
_TELL = "label"
_FIELDS = ("tools", "response_format")


@dataclass(frozen=True)
class Format:
    """JSON was asked for; `schema` None: any object."""

    schema: Mapping[str, Any] | None


@dataclass(frozen=True)
class Ask:
    tools: Tools
    mode: Mode
    #: A call must be made.
    forced: bool = False
    #: Of this tool.
    named: str | None = None
    #: May be called several times in one message: as the client said, None when it said nothing.
    parallel: bool | None = None
    format: Format | None = None
    tells: bool = False


@dataclass(frozen=True)
class Second:
    """What becomes of a call in sound form that may not be made."""

    #: Of a tool that was not sent: it is a call under the name that the model wrote.
    forwards: bool = False
    #: For these reasons the model is asked once more.
    asks: frozenset[Reason] = frozenset()

    @classmethod
    def of(cls, policy: BodyPolicy, values: Mapping[str, Any]) -> Second:
        """Several answers at once are several ways to go on: none of them is asked about."""
        settings = {Reason.UNKNOWN_TOOL: policy.unknown_tool, Reason.SCHEMA: policy.bad_arguments}
        asks = frozenset(reason for reason, said in settings.items() if said == "reask")
        return cls(policy.unknown_tool == "forward", asks if values.get("n") in (None, 1) else frozenset())


def ask_of(values: Mapping[str, Any], header: str | None, setting: str) -> Ask | None:
    """None for a request that has nothing to do with tools or formats, as most have. Raises RoostError."""
    if "tools" not in values and "response_format" not in values:
        if values.get("tool_choice") in ("required",) or isinstance(values.get("tool_choice"), dict):
            raise MissingParameter("`tool_choice` demands a call and `tools` is missing", param="tools")
        return None
    mode, tells = mode_of(header, setting)
    tools = _tools(values.get("tools"))
    format_ = _format(values.get("response_format"))
    forced, named = _choice(values.get("tool_choice"), tools)
    parallel = values.get("parallel_tool_calls")
    if format_ is not None and forced:
        raise Refused(
            "cannot demand a call with `tool_choice` and another format with `response_format` at once; leave one out",
            param="response_format",
        )
    if values.get("tool_choice") == "none" or format_ is not None or not tools:
        mode = Mode.OFF
    if mode is Mode.OFF and format_ is None and not forced:
        return None
    return Ask(tools, mode, forced, named, parallel if isinstance(parallel, bool) else None, format_, tells)


def mode_of(header: str | None, setting: str) -> tuple[Mode, bool]:
    """The request's own word, else the model's setting; and whether the last chunk is to tell. Raises InvalidType."""
    default = Mode.MARKER if setting == "auto" else Mode(setting)
    if header is None:
        return default, False
    said, _, more = header.partition(";")
    try:
        return (Mode(said.strip()) if said.strip() else default), more.strip() == _TELL
    except ValueError:
        raise InvalidType(f"`{HEADER}` must be one of {', '.join(Mode)}", param=HEADER) from None


def _tools(listed: object) -> Tools:
    if listed is None:
        return Tools({})
    if not isinstance(listed, list):
        raise InvalidType("`tools` must be an array", param="tools")
    return Tools.of(listed)


def _choice(given: object, tools: Tools) -> tuple[bool, str | None]:
    """Whether a call is demanded, and of which tool. Raises RoostError."""
    match given:
        case None | "auto" | "none":
            return False, None
        case "required":
            if not tools:
                raise MissingParameter("`tool_choice` demands a call and `tools` has no function", param="tools")
            return True, None
        case {"type": "function", "function": {"name": str(name)}}:
            if name not in tools.by_name:
                raise Refused("`tool_choice` names a function that is not among `tools`", param="tool_choice")
            return True, name
    raise InvalidType(
        '`tool_choice` must be "auto", "none", "required" or {"type": "function", "function": {"name": …}}',
        param="tool_choice",
    )


def _format(given: object) -> Format | None:
    match given:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object", "schema": dict(schema)}:
            return Format(schema)
        case {"type": "json_object"}:
            return Format(None)
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return Format(schema)
    raise InvalidType(
        '`response_format` must be {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", '
        '"json_schema": {"name": …, "schema": …}}',
        param="response_format",
    )

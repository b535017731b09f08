"""From an object that looks like a call to a call that may be made: its keys, its name, its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from roost.toolcalls.literal import Read, items, members
from roost.toolcalls.schema import checked
from roost.toolcalls.values import NoCall, RawCall, Reason, Tier, Tool, ToolCall, Tools

#: Keys that an object may have and still be a call; any other makes it a record, a definition, a result.
KEYS = frozenset({"name", "arguments", "parameters", "type", "id", "function"})
_INNER_KEYS = frozenset({"name", "arguments", "parameters"})
_COMMAND_KEYS = frozenset({"tool_call_id", "tool_name", "parameters"})
_TYPES = ("function", "tool_call", "function_call")
_LONGEST_NAME = 128
#: What a tool may be called, whoever names it: without it any word between two marks would be a call.
_SOUND_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_.:/-]{{0,{_LONGEST_NAME - 1}}}")
#: Names of tools that a model is told when it has missed them all; more would only fill its window.
_MOST_NAMES = 64
#: What engines leave hanging on a name: control tokens of any family.
_CONTROL_TOKEN = re.compile(r"<[|｜][^<>]{0,64}?[|｜]?>|\[ARGS\]|\[CALL_ID\]")


def calls_in(read: Read) -> Iterator[RawCall]:
    """The calls of one JSON value: an object, a list of them, or OpenAI's `tool_calls`. Raises NoCall."""
    value = read.value
    if isinstance(value, dict) and value.keys() == {"tool_calls"}:
        raw = members(read.raw)["tool_calls"] if read.raw else None
        yield from _listed(value["tool_calls"], raw, read.steps)
    elif isinstance(value, list):
        yield from _listed(value, read.raw, read.steps)
    else:
        yield _call(value, read.raw, read.steps)


def _listed(values: Any, raw: str | None, steps: tuple[str, ...]) -> Iterator[RawCall]:
    if not isinstance(values, list) or not values:
        raise NoCall(Reason.MALFORMED)
    own: list[str] | list[None] = items(raw) if raw else [None] * len(values)
    for value, text in zip(values, own, strict=True):
        yield _call(value, text, steps)


def _call(value: Any, raw: str | None, steps: tuple[str, ...]) -> RawCall:
    if not isinstance(value, dict):
        raise NoCall(Reason.MALFORMED)
    texts = members(raw) if raw else {}
    if value.keys() <= _COMMAND_KEYS and "tool_name" in value:
        return _made(value["tool_name"], value, "parameters", texts, None, steps)
    if not value.keys() <= KEYS or value.get("type", "function") not in _TYPES:
        raise NoCall(Reason.MALFORMED)
    id_ = value.get("id")
    inner = value.get("function")
    if isinstance(inner, dict):
        if value.keys() & {"name", "arguments", "parameters"} or not inner.keys() <= {
            "name",
            "arguments",
            "parameters",
        }:
            raise NoCall(Reason.MALFORMED)
        texts = members(texts["function"]) if "function" in texts else {}
        return _named(inner, inner.get("name"), texts, id_, steps)
    if "name" in value and "function" in value:
        raise NoCall(Reason.MALFORMED)
    return _named(value, value.get("name", inner), texts, id_, steps)


def _named(value: Mapping[str, Any], name: Any, texts: Mapping[str, str], id_: Any, steps: tuple[str, ...]) -> RawCall:
    if "arguments" in value and "parameters" in value:
        raise NoCall(Reason.MALFORMED)
    return _made(name, value, "parameters" if "parameters" in value else "arguments", texts, id_, steps)


def _made(
    name: Any, value: Mapping[str, Any], key: str, texts: Mapping[str, str], id_: Any, steps: tuple[str, ...]
) -> RawCall:
    if not isinstance(name, str) or not name.strip():
        raise NoCall(Reason.MALFORMED)
    arguments = value.get(key)
    raw = texts.get(key) if isinstance(arguments, dict) else None
    return RawCall(name, arguments, raw, id_ if isinstance(id_, str) and id_ else None, steps)


def clean_name(name: str, tools: Tools) -> tuple[str, tuple[str, ...]]:
    """A declared name, freed from what engines hang on it. Nothing is guessed. Raises NoCall(UNKNOWN_TOOL).

    Where names are open, one that was not sent is let through, and its step says so.
    """
    if name in tools.by_name:
        return name, ()
    bare = _CONTROL_TOKEN.split(name, maxsplit=1)[0].strip() or _CONTROL_TOKEN.sub("", name).strip()
    for candidate in (bare, bare.removeprefix("functions.")):
        if candidate in tools.by_name:
            return candidate, ("name",)
    if tools.is_open and _SOUND_NAME.fullmatch(candidate):
        return candidate, (Reason.UNKNOWN_TOOL,)
    listed = ", ".join(list(tools.by_name)[:_MOST_NAMES])
    raise NoCall(Reason.UNKNOWN_TOOL, f'there is no tool "{candidate[:_LONGEST_NAME]}"; the tools are: {listed}')


def finished(call: RawCall, tools: Tools, tier: Tier) -> tuple[ToolCall, tuple[str, ...]]:
    """The call if it may be made, and the steps to it. Raises NoCall."""
    name, steps = clean_name(call.name, tools)
    tool = tools.tool(name)
    if _is_definition(call.arguments, tool):
        raise NoCall(Reason.MALFORMED)
    if tier is Tier.SHAPE:
        _check_shape(call.arguments, tool)
    arguments, more = checked(tool, call.arguments, call.raw)
    return ToolCall(name, arguments, call.id), (*call.steps, *steps, *more)


def _is_definition(arguments: Any, tool: Tool) -> bool:
    """`parameters` is the key of a tool's schema too: a tool that is described is not called."""
    if not isinstance(arguments, dict) or not isinstance(arguments.get("properties"), dict):
        return False
    return arguments.get("type") == "object" and "properties" not in (tool.declared or {})


def _check_shape(arguments: Any, tool: Tool) -> None:
    """Without a marker the arguments must be there, and be the tool's own: a record may have any. Raises NoCall."""
    if not isinstance(arguments, dict | str) or arguments == "":
        raise NoCall(Reason.MALFORMED)
    declared = tool.declared
    if not isinstance(arguments, dict) or declared is None or tool.schema.get("additionalProperties"):
        return
    if not arguments.keys() <= declared.keys():
        raise NoCall(Reason.SCHEMA, f'"{tool.name}" has no other parameters than: {", ".join(declared)}')

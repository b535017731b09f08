"""A call that must be made: the schema that an engine is held to, and the calls that its answer then is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roost.toolcalls.calls import calls_in, finished
from roost.toolcalls.literal import Read, decode
from roost.toolcalls.schema import validator_of
from roost.toolcalls.values import NoCall, Reason, Tier, Tool, ToolCall, Tools

#: So many calls a message at the most: a weak model in a list finds no end.
_MOST_CALLS = 8


def forced_schema(tools: Tools, *, several: bool) -> dict[str, Any]:
    """The JSON schema of an answer that is a call of one of the tools, or a list of them."""
    definitions: dict[str, Any] = {}
    alternatives = [_call_schema(tool, index, definitions) for index, tool in enumerate(tools.by_name.values())]
    one = alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}
    schema = {"type": "array", "items": one, "minItems": 1, "maxItems": _MOST_CALLS} if several else one
    return {**schema, "$defs": definitions} if definitions else schema


def _call_schema(tool: Tool, index: int, definitions: dict[str, Any]) -> dict[str, Any]:
    arguments: Mapping[str, Any] = {"type": "object", **tool.schema}
    if '"$ref"' in json.dumps(arguments, default=str):
        # A reference counts from the root, which is another one now.
        place = f"tool{index}"
        definitions[place] = _moved(arguments, f"#/$defs/{place}/")
        arguments = {"$ref": f"#/$defs/{place}"}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(value: Any, root: str) -> Any:
    if isinstance(value, dict):
        moved = {key: _moved(one, root) for key, one in value.items()}
        if isinstance(value.get("$ref"), str) and value["$ref"].startswith("#/"):
            moved["$ref"] = root + value["$ref"][2:]
        return moved
    return [_moved(one, root) for one in value] if isinstance(value, list) else value


def forced_calls(text: str, tools: Tools) -> tuple[ToolCall, ...]:
    """The calls of an answer that was held to such a schema. Raises NoCall."""
    stripped = text.strip()
    try:
        value = decode(stripped)
    except (ValueError, RecursionError):
        raise NoCall(Reason.TRUNCATED) from None
    return tuple(finished(call, tools, Tier.MARKER)[0] for call in calls_in(Read(value, len(stripped), stripped)))


def breaks_format(text: str, schema: Mapping[str, Any] | None) -> str | None:
    """How a text breaks what was asked for, in a few words without any of it; None: it does not.

    `schema` None: any JSON object will do.
    """
    try:
        value = decode(text)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if schema is None:
        return None if isinstance(value, dict) else "it is JSON, but no object"
    validator = validator_of(schema)
    return None if validator is None or validator.is_valid(value) else "it is JSON that breaks the schema"

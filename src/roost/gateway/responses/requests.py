"""Bodies of /v1/responses as bodies of a chat of ours. Pure.

What this service cannot do is left out where the answer is an answer without it (tools of OpenAI's servers, storing),
and the names of what was left out are told; where it would be another answer (an earlier response that should be known)
it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, MissingParameter, Refused
from roost.gateway.responses.items import Items
from roost.gateway.tool_lists import ToolLists

#: Fields that mean the same in both.
_SAME = ("model", "temperature", "top_p", "stream", "top_logprobs", "parallel_tool_calls", "chat_template_kwargs")
#: What would have to be stored here.
_STORED = {
    "previous_response_id": "no response is stored here; send the whole conversation as `input`",
    "conversation": "no conversation is stored here; send it as `input`",
    "prompt": "no prompt is stored here; send its text as `instructions` and `input`",
    "background": "a response is made while its client waits",
}
_CHOICES = ("auto", "required", "none")


@dataclass(frozen=True)
class Translated:
    """A chat of ours that says what the caller's request said."""

    body: dict[str, Any]
    #: What was left out, by name.
    ignored: tuple[str, ...]
    #: What members of the body are as JSON text, where that is known already.
    texts: Mapping[str, str]


def from_response(
    asked: Mapping[str, Any], *, thinks: bool, can_stop_thinking: bool, tools_text: str | None = None
) -> Translated:
    """Of a model that `thinks`, and can be told not to. `tools_text`: the request's `tools` as they came, under which
    their translation is kept. Raises RoostError for what cannot be said in our body."""
    for key, why in _STORED.items():
        if asked.get(key):
            raise Refused(f"cannot use `{key}`: {why}", param=key)
    items = _items(asked)
    tools = _LISTS.of(asked.get("tools"), tools_text)
    body: dict[str, Any] = {key: asked[key] for key in _SAME if asked.get(key) is not None}
    body["messages"] = items.messages
    if (most := asked.get("max_output_tokens")) is not None:
        body["max_tokens"] = most
    if asked.get("stream") is True:
        body["stream_options"] = {"include_usage": True}
    body |= _format(asked.get("text"))
    if tools.own:
        body |= {"tools": tools.own, **_choice(asked.get("tool_choice"))}
    else:
        body.pop("parallel_tool_calls", None)
    effort = _effort(asked.get("reasoning"))
    if thinks and effort is not None and (effort != "none" or can_stop_thinking):
        body["reasoning_effort"] = effort
    return Translated(body, tuple(sorted({*items.ignored, *tools.foreign})), tools.texts())


def _items(asked: Mapping[str, Any]) -> Items:
    given = asked.get("input")
    if given is None:
        raise MissingParameter("`input` is missing; it must be a string or an array of items", param="input")
    items = Items()
    items.instruct(asked.get("instructions"))
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InvalidType("`input` must be a string or an array of items", param="input")
    for item in given:
        items.add(item)
    return items


def _tools(given: object) -> tuple[list[dict[str, Any]], list[str]]:
    """Functions, and the names of the tools that only OpenAI's servers have."""
    if given is None:
        return [], []
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        raise InvalidType("`tools` must be an array of tools", param="tools")
    functions = [_function(tool) for tool in given if tool.get("type") == "function"]
    foreign = [str(tool.get("name") or tool.get("type")) for tool in given if tool.get("type") != "function"]
    return functions, foreign


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(tool.get("name"), str):
        raise InvalidType("a function needs its `name`", param="tools")
    kept = {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": {"parameters": {"type": "object", "properties": {}}, **kept}}


_LISTS = ToolLists(_tools)


def _choice(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if given in _CHOICES:
        return {"tool_choice": given}
    if isinstance(given, dict) and given.get("type") == "function" and isinstance(given.get("name"), str):
        return {"tool_choice": {"type": "function", "function": {"name": given["name"]}}}
    if isinstance(given, dict) and given.get("type") == "allowed_tools":
        raise Refused(
            "cannot keep `tool_choice` of type allowed_tools: send only those tools",
            param="tool_choice",
        )
    raise InvalidType(f"`tool_choice` must be one of {', '.join(_CHOICES)}, or name a function", param="tool_choice")


def _format(text: object) -> dict[str, Any]:
    """`text.format`; how long an answer shall be (`text.verbosity`) is nothing that an engine knows."""
    given = text.get("format") if isinstance(text, dict) else None
    match given:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"response_format": {"type": "json_object"}}
        case {"type": "json_schema", "schema": dict(schema)}:
            named = {"name": given.get("name") or "answer", "schema": schema}
            strict = {} if given.get("strict") is None else {"strict": given["strict"]}
            return {"response_format": {"type": "json_schema", "json_schema": {**named, **strict}}}
    raise Refused("cannot keep this `text.format`: text, json_object and json_schema are known", param="text")


def _effort(reasoning: object) -> str | None:
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return effort if isinstance(effort, str) else None

"""Bodies of /v1/messages as bodies of a chat of ours. Pure.

What this service cannot do is left out where the answer is an answer without it (a server's own tools, beta features,
cache marks), and the names of what was left out are told; where it would be another answer it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, MissingParameter, Refused
from roost.gateway.anthropic.turns import Turns
from roost.gateway.tool_lists import ToolLists

#: Fields that mean the same in both.
_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k", "stream", "chat_template_kwargs")
#: Levels of `output_config.effort` that our chat has no word for.
_EFFORTS = {"max": "xhigh"}
#: Fields that change nothing here.
_WITHOUT_EFFECT = ("mcp_servers", "container")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


@dataclass(frozen=True)
class Translated:
    """A chat of ours that says what the caller's request said."""

    body: dict[str, Any]
    #: What was left out, by name.
    ignored: tuple[str, ...]
    #: What members of the body are as JSON text, where that is known already.
    texts: Mapping[str, str]
    #: Tokens that may be thought, where the engine can keep to that.
    thinking_budget: int | None = None


def from_messages(
    asked: Mapping[str, Any], *, thinks: bool, can_stop_thinking: bool, tools_text: str | None = None
) -> Translated:
    """Of a model that `thinks`, and can be told not to. `tools_text`: the request's `tools` as they came, under which
    their translation is kept. Raises RoostError for what cannot be said in our body."""
    turns = _turns(asked)
    tools = _LISTS.of(asked.get("tools"), tools_text)
    body: dict[str, Any] = {key: asked[key] for key in _SAME if asked.get(key) is not None}
    body |= {"messages": turns.messages, **_stops(asked.get("stop_sequences")), **_stream_options(asked)}
    body |= _format(asked)
    if tools.own:
        body |= {"tools": tools.own, **_choice(asked.get("tool_choice"))}
    effort, budget = _thinking(asked)
    if thinks and effort is not None and (effort != "none" or can_stop_thinking):
        body["reasoning_effort"] = effort
    left_out = sorted({*turns.ignored, *tools.foreign, *(key for key in _WITHOUT_EFFECT if asked.get(key))})
    return Translated(body, tuple(left_out), tools.texts(), budget)


def _turns(asked: Mapping[str, Any]) -> Turns:
    messages = asked.get("messages")
    if messages is None:
        raise MissingParameter("`messages` is missing; it must be an array of messages", param="messages")
    if not isinstance(messages, list):
        raise InvalidType("`messages` must be an array of messages", param="messages")
    turns = Turns()
    turns.begin(asked.get("system"))
    for turn in messages:
        turns.add(turn)
    return turns


def _stops(given: object) -> dict[str, Any]:
    return {"stop": given} if given else {}


def _stream_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if asked.get("stream") is True else {}


def _tools(given: object) -> tuple[list[dict[str, Any]], list[str]]:
    """Tools of the client's own, and the names of those that only Anthropic's servers have."""
    if given is None:
        return [], []
    if not isinstance(given, list):
        raise InvalidType("`tools` must be an array of tools", param="tools")
    own: list[dict[str, Any]] = []
    foreign: list[str] = []
    for tool in given:
        if not isinstance(tool, dict) or not isinstance(tool.get("name", ""), str):
            raise InvalidType("each of `tools` must be an object with a name", param="tools")
        if tool.get("type") in (None, "custom") and tool.get("name"):
            own.append({"type": "function", "function": dict(_function(tool))})
        else:
            foreign.append(str(tool.get("name") or tool.get("type")))
    return own, foreign


def _function(tool: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "name", tool["name"]
    if tool.get("description"):
        yield "description", tool["description"]
    yield "parameters", tool.get("input_schema") or {"type": "object", "properties": {}}


_LISTS = ToolLists(_tools)


def _choice(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind not in {*_CHOICES, "tool"}:
        raise InvalidType('`tool_choice.type` must be "auto", "any", "tool" or "none"', param="tool_choice")
    alone = {"parallel_tool_calls": False} if given.get("disable_parallel_tool_use") is True else {}
    if kind != "tool":
        return {"tool_choice": _CHOICES[str(kind)], **alone}
    if not isinstance(given.get("name"), str):
        raise InvalidType("`tool_choice` of type tool needs a `name`", param="tool_choice")
    return {"tool_choice": {"type": "function", "function": {"name": given["name"]}}, **alone}


def _format(asked: Mapping[str, Any]) -> dict[str, Any]:
    """`output_config.format`, and its older place."""
    config = asked.get("output_config")
    given = config.get("format") if isinstance(config, dict) else None
    given = given or asked.get("output_format")
    match given:
        case None:
            return {}
        case {"type": "json_schema", "schema": dict(schema)}:
            return {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": schema, "strict": True},
                }
            }
    raise Refused("cannot keep this `output_config.format`: only json_schema with a schema is known", param="format")


def _thinking(asked: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """How hard a model shall think (None: as its settings say) and for how many tokens (None: no limit)."""
    config, thinking = asked.get("output_config"), asked.get("thinking")
    told = config.get("effort") if isinstance(config, dict) else None
    effort = _EFFORTS.get(str(told), str(told)) if told else None
    match thinking:
        case {"type": "disabled"}:
            return "none", None
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return effort or "medium", budget
        case {"type": "enabled" | "adaptive"} | None:
            return effort, None
    raise InvalidType('`thinking.type` must be "enabled", "adaptive" or "disabled"', param="thinking")

"""Chats in OpenAI's words as bodies of /v1/messages. Pure.

What changes nothing of an answer's meaning is left out (seed, penalties, user, store); what would make it another
answer is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roost.cloud.anthropic.turns import messages_of
from roost.errors import InvalidType, Refused

#: When a request names no limit, which Anthropic demands. Every model that it still serves can say so much.
DEFAULT_MAX_TOKENS = 32_000
#: Models that think within a budget of tokens; all later ones decide by themselves, told how hard to try.
_BUDGETED = re.compile(
    r"(?:anthropic[./])?claude-(?:3|(?:opus|sonnet|haiku)-4(?:[-.][0-5])?(?:[-@]\d{8}\S*|-latest)?$)"
)
_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 10_240, "high": 24_576, "xhigh": 32_768, "max": 49_152}
_SMALLEST_BUDGET = 1024
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
#: Of the limit, what thoughts may take, so that something is left to be said.
_SHARE_OF_THOUGHTS = 0.75


@dataclass(frozen=True)
class Translated:
    """A body for /v1/messages, and what the answer's shape depends on."""

    body: dict[str, Any]
    stream: bool
    include_usage: bool


def to_messages(asked: Mapping[str, Any]) -> Translated:
    """Raises Refused, InvalidType for what Anthropic's service cannot be asked."""
    _refuse(asked)
    system, messages = messages_of(asked.get("messages"))
    limit = _limit(asked)
    body: dict[str, Any] = {"model": asked.get("model"), "max_tokens": limit, "messages": messages}
    if system:
        body["system"] = system
    body |= dict(_tools(asked))
    if stops := _stops(asked.get("stop")):
        body["stop_sequences"] = stops
    stream = asked.get("stream") is True
    if stream:
        body["stream"] = True
    thinking = _thinking(asked, body, limit)
    body |= thinking
    if "thinking" not in thinking or thinking["thinking"]["type"] == "disabled":
        body |= dict(_sampling(asked))
    if config := _output_config(asked, body.pop("output_config", {})):
        body["output_config"] = config
    options = asked.get("stream_options")
    return Translated(body, stream, isinstance(options, Mapping) and options.get("include_usage") is True)


def _refuse(asked: Mapping[str, Any]) -> None:
    """Raises Refused for what would be another answer."""
    if asked.get("n") not in (None, 1):
        raise Refused("a cloud that speaks Anthropic Messages gives one answer: leave `n` out", param="n")
    for name in ("logprobs", "top_logprobs", "audio", "functions", "function_call"):
        if asked.get(name):
            raise Refused(f"a cloud that speaks Anthropic Messages has no `{name}`: leave it out", param=name)


def _limit(asked: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(given := asked.get(name), int) and not isinstance(given, bool) and given > 0:
            return given
    return DEFAULT_MAX_TOKENS


def _stops(given: object) -> list[str]:
    """Anthropic refuses those of white space alone."""
    stops = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [stop for stop in stops if isinstance(stop, str) and stop.strip()]


def _sampling(asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Anthropic's temperatures end at 1, and newer models take only one of temperature and top_p."""
    if isinstance(temperature := asked.get("temperature"), int | float):
        yield "temperature", min(max(temperature, 0), 1)
    elif isinstance(top_p := asked.get("top_p"), int | float):
        yield "top_p", top_p
    if isinstance(top_k := asked.get("top_k"), int) and top_k > 0:
        yield "top_k", top_k


def _tools(asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    tools = asked.get("tools")
    if not tools:
        return
    if not isinstance(tools, list):
        raise InvalidType("`tools` must be an array of tools", param="tools")
    yield "tools", [_tool(tool) for tool in tools]
    choice = _choice(asked.get("tool_choice"))
    if asked.get("parallel_tool_calls") is False and choice.get("type", "auto") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    if choice:
        yield "tool_choice", choice


def _tool(tool: object) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidType("each of `tools` must be a function with a name", param="tools")
    schema = function.get("parameters") or {}
    told = {"name": function["name"], "input_schema": {"type": "object", **schema}}
    return {**told, "description": function["description"]} if function.get("description") else told


def _choice(given: object) -> dict[str, Any]:
    match given:
        case None:
            return {}
        case str() if given in _CHOICES:
            return {"type": _CHOICES[given]}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
    raise Refused('`tool_choice` must be "auto", "required", "none" or one function', param="tool_choice")


def _thinking(asked: Mapping[str, Any], body: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """By `reasoning_effort`; nothing where the model is to do as it always does."""
    effort = asked.get("reasoning_effort")
    if not isinstance(effort, str):
        return {}
    budgeted = bool(_BUDGETED.match(str(asked.get("model"))))
    if effort == "none":
        return {} if budgeted else {"thinking": {"type": "disabled"}}
    if effort not in _EFFORTS:
        raise Refused(f"`reasoning_effort` must be none, {', '.join(_EFFORTS)}", param="reasoning_effort")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        return {}  # Anthropic refuses thoughts where a call is demanded
    if not budgeted:
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": _EFFORTS[effort]}}
    budget = min(_BUDGETS[effort], int(limit * _SHARE_OF_THOUGHTS))
    # Such a model goes on with a call's result only if it is shown its thoughts, signed, and nobody here keeps them.
    if budget < _SMALLEST_BUDGET or _in_a_call(body["messages"]):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _in_a_call(messages: list[dict[str, Any]]) -> bool:
    last = messages[-1]["content"] if messages else ""
    return isinstance(last, list) and any(block["type"] == "tool_result" for block in last)


def _output_config(asked: Mapping[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    match asked.get("response_format"):
        case None | {"type": "text"}:
            return config
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {**config, "format": {"type": "json_schema", "schema": schema}}
    raise Refused(
        "a cloud that speaks Anthropic Messages has no such `response_format`; use json_schema with a schema",
        param="response_format",
    )

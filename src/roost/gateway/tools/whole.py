"""An answer that is there as a whole: its calls found, mended and put where clients look for them."""

from __future__ import annotations

from typing import Any

from roost.gateway.tools.layer import Judge, Layer, new_id
from roost.toolcalls.structured import Mended, mended
from roost.toolcalls.values import Finding, Tier, ToolCall

_THOUGHTS = ("reasoning_content", "reasoning")


def settle(layer: Layer, answer: dict[str, Any]) -> bool:
    """Whether the answer was changed, which is done in place. Raises RoostError for one that is not what was demanded.

    Sets the label.
    """
    choices = answer.get("choices")
    settled = [_settle(layer, choice) for choice in choices if isinstance(choice, dict)] if choices else []
    layer.told()
    return any(settled)


def _settle(layer: Layer, choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    if not isinstance(message, dict):
        return False
    if message.get("tool_calls"):
        return _mend(layer, choice, message)
    cut = choice.get("finish_reason") == "length"
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    found = _found(layer.judge(), text, cut)
    key = "content"
    thought = next((key for key in _THOUGHTS if isinstance(message.get(key), str)), None)
    if not found.calls and not text.strip() and thought is not None and (sieve := layer.thoughts()) is not None:
        found, key, text = _found(sieve, message[thought], cut), thought, message[thought]
    layer.take(found)
    layer.spoke = layer.spoke or bool(found.calls or text.strip())
    if key == "content":
        layer.refusal = layer.refusal or found.refusal
    if not found.calls:
        return False
    _put(layer, choice, message, key, text, found)
    return True


def _found(judge: Judge, text: str, cut: bool) -> Finding:
    judge.feed(text)
    return judge.finish(cut=cut)


def _put(layer: Layer, choice: dict[str, Any], message: dict[str, Any], key: str, text: str, found: Finding) -> None:
    kept = text[: found.kept]
    message[key] = kept
    message["content"] = ((kept if key == "content" else message.get("content") or "") + found.content) or None
    if not str(message["content"] or "").strip():
        message["content"] = None
    if found.reasoning:
        message["reasoning_content"] = (message.get("reasoning_content") or "") + found.reasoning
    message["tool_calls"] = [said(call) for call in layer.few(found.calls)]
    choice["finish_reason"] = layer.finish_reason(choice.get("finish_reason"))


def said(call: ToolCall) -> dict[str, Any]:
    """A call as OpenAI's clients read it."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or new_id(), "type": "function", "function": function}


def _mend(layer: Layer, choice: dict[str, Any], message: dict[str, Any]) -> bool:
    """The engine's own calls; anything else in the answer is none."""
    layer.spoke = True
    found: Mended = mended(message["tool_calls"], layer.ask.tools, new_id)
    calls = found.calls[:1] if layer.ask.parallel is False else found.calls
    steps = list(found.steps)
    if len(calls) < len(found.calls):
        steps.append("parallel")
    reason = engine_finish(layer, choice.get("finish_reason"), found.reason == "truncated")
    if reason != choice.get("finish_reason"):
        steps.append("finish_reason")
    layer.check_named([call.get("function", {}).get("name") for call in calls])
    if not steps:
        layer.label.unrepaired(found.reason)
        return False
    layer.label.repaired(Tier.ENGINE, steps)
    message["tool_calls"], choice["finish_reason"] = calls, reason
    return True


def engine_finish(layer: Layer, given: str | None, truncated: bool) -> str | None:
    """The reason of an answer in which the engine made calls."""
    if truncated and given in ("tool_calls", "stop"):
        return "length"
    return layer.finish_reason(given) if given == "stop" else given

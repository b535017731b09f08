"""What Anthropic's service refuses in a request, as far as a translation may get it wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FIELDS = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_p", "top_k"),
        *("tools", "tool_choice", "thinking", "output_config", "metadata", "cache_control", "service_tier"),
    }
)
_BLOCKS = frozenset({"text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"})
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def problem(body: Mapping[str, Any]) -> str | None:
    """The first thing that is wrong with a body of /v1/messages, in about its service's words."""
    return next(_problems(body), None)


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(set(body) - _FIELDS):
        yield f"{name}: Extra inputs are not permitted"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        yield "max_tokens: Field required"
    if not isinstance(body.get("temperature", 0), int | float) or not 0 <= body.get("temperature", 0) <= 1:
        yield "temperature: range: 0..1"
    if "temperature" in body and "top_p" in body:
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    yield from _thinking_problems(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
        return
    if messages[0].get("role") != "user":
        yield 'messages: first message must use the "user" role'
    for at, message in enumerate(messages):
        yield from _message_problems(at, message)
    yield from _call_problems(messages)


def _thinking_problems(body: Mapping[str, Any]) -> Iterator[str]:
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking.get("type") == "disabled":
        return
    if thinking.get("type") == "enabled" and not 1024 <= thinking.get("budget_tokens", 0) < body.get("max_tokens", 0):
        yield "`max_tokens` must be greater than `thinking.budget_tokens`, and that at least 1024"
    if body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled"
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _message_problems(at: int, message: Mapping[str, Any]) -> Iterator[str]:
    if message.get("role") not in ("user", "assistant"):
        yield f"messages.{at}.role: Input should be 'user' or 'assistant'"
    content = message.get("content")
    if content == "" or content == []:
        yield f"messages.{at}: all messages must have non-empty content"
    for block in content if isinstance(content, list) else ():
        if block.get("type") not in _BLOCKS:
            yield f"messages.{at}: Input tag '{block.get('type')}' found using 'type' does not match any of the tags"
        if block.get("type") == "text" and not str(block.get("text", "")).strip():
            yield f"messages.{at}: text content blocks must contain non-whitespace text"
        if block.get("type") == "thinking" and not block.get("signature"):
            yield f"messages.{at}: thinking.signature: Field required"
        if block.get("type") == "tool_use" and not (
            _ID.fullmatch(str(block.get("id"))) and isinstance(block.get("input"), dict)
        ):
            yield f"messages.{at}: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$', with an object as input"


def _call_problems(messages: list[Mapping[str, Any]]) -> Iterator[str]:
    """Each call is answered in the very next message, and nothing else is."""
    for at, message in enumerate(messages):
        called = _ids(message, "tool_use", "id")
        answered = _ids(messages[at + 1], "tool_result", "tool_use_id") if at + 1 < len(messages) else called
        if not called <= answered:
            yield f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after"
        before = _ids(messages[at - 1], "tool_use", "id") if at else set()
        if not _ids(message, "tool_result", "tool_use_id") <= before:
            yield f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks"


def _ids(message: Mapping[str, Any], kind: str, key: str) -> set[str]:
    content = message.get("content")
    return {block[key] for block in content if block.get("type") == kind} if isinstance(content, list) else set()

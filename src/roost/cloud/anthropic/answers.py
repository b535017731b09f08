"""Anthropic's answers in OpenAI's words: a whole message, its usage, why it ended, an error. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
#: Types of errors, for those that come in a stream, where no status tells.
ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 503,
    "timeout_error": 504,
}
#: Anthropic's own status for being overloaded.
OVERLOADED = 529


def whole_chat(message: Mapping[str, Any], created: int) -> dict[str, Any]:
    """Raises ValueError for what is no message."""
    content, model = message.get("content"), message.get("model")
    if message.get("type") != "message" or not isinstance(content, list) or not isinstance(model, str):
        raise ValueError("it is no message")
    said: dict[str, Any] = {"role": "assistant", "content": _joined(content, "text") or None}
    if thought := _joined(content, "thinking"):
        said["reasoning_content"] = thought
    calls = [_call(block) for block in content if isinstance(block, dict) and block.get("type") == "tool_use"]
    if calls:
        said["tool_calls"] = calls
    elif said["content"] is None:
        said["content"] = ""
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason(message.get("stop_reason"))}
    return {
        "id": chat_id(message.get("id")),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage_of(message.get("usage")),
    }


def chat_id(given: object) -> str:
    return f"chatcmpl-{str(given or 'none').removeprefix('msg_')}"


def finish_reason(stop_reason: object) -> str:
    """Raises ValueError where none is told; one that nobody knows yet is a stop."""
    if not isinstance(stop_reason, str):
        raise ValueError("it does not say why it ended")
    return _FINISH_REASONS.get(stop_reason, "stop")


def usage_of(usage: object) -> dict[str, Any]:
    """Anthropic counts tokens of the cache apart from the others of the prompt; OpenAI counts them among these."""
    told = usage if isinstance(usage, Mapping) else {}
    read = _count(told.get("cache_read_input_tokens"))
    prompt = _count(told.get("input_tokens")) + _count(told.get("cache_creation_input_tokens")) + read
    completion = _count(told.get("output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read},
    }


def error_of(body: bytes, status: int) -> tuple[int, dict[str, Any]]:
    """The status and the error object of a refusal, whatever its body is."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    inner = told.get("error") if isinstance(told, dict) else None
    if not isinstance(inner, dict):
        inner = {"type": None, "message": f"the provider answered {status}"}
    ours = 503 if status == OVERLOADED else status
    kind = "server_error" if ours >= 500 else inner.get("type") or "invalid_request_error"
    return ours, _error(str(inner.get("message")), str(kind), inner.get("type"))


def error_frame(event: Mapping[str, Any]) -> dict[str, Any]:
    """Of an error in mid-stream; its code is the status that it would have been."""
    inner = event.get("error")
    inner = inner if isinstance(inner, Mapping) else {}
    status = ERROR_STATUSES.get(str(inner.get("type")), 500)
    return _error(str(inner.get("message")), str(inner.get("type")), status)


def _error(message: str, kind: str, code: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _joined(content: list[Any], kind: str) -> str:
    """All texts, or all thoughts."""
    return "".join(
        block[kind]
        for block in content
        if isinstance(block, dict) and block.get("type") == kind and isinstance(block.get(kind), str)
    )


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    return {
        "id": str(block.get("id")),
        "type": "function",
        "function": {"name": str(block.get("name")), "arguments": arguments},
    }


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

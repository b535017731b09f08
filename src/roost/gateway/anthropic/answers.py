"""Our answers in Anthropic's words: a message, its blocks, why it ended, what it used, an error. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roost.errors import ContextLengthExceeded, RoostError
from roost.gateway.splice import quick_literal

#: What the tool call of an answer must look like to be passed on.
BAD_CALL = "the engine sent a tool call whose arguments are not a JSON object"
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
_TOOL_REASONS = frozenset({"tool_calls", "function_call"})
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def message_id(given: object) -> str:
    """After the engine's id of the answer."""
    return f"msg_{str(given or 'none').removeprefix('chatcmpl-')}"


def empty_message(given_id: object, model_id: str) -> dict[str, Any]:
    """A message to which nothing has been said yet; nobody knows the tokens of its prompt then."""
    return {
        "id": message_id(given_id),
        "type": "message",
        "role": "assistant",
        "model": model_id,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage(None, None, 0),
    }


def whole_message(answer: Mapping[str, Any], model_id: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole chat answer. Raises ValueError where the model wrote arguments that are no object."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    said = choice.get("message") or {}
    blocks = [*_texts(said), *(_tool_use(call) for call in said.get("tool_calls") or ())]
    ending = stop_of(choice.get("finish_reason"), called=bool(said.get("tool_calls")))
    return {**empty_message(answer.get("id"), model_id), "content": blocks, "stop_reason": ending, "usage": used}


def stop_of(finish_reason: object, *, called: bool) -> str:
    """Why a message ended. Which of the stop sequences it was no engine tells."""
    if called and (finish_reason in _TOOL_REASONS or finish_reason == "stop"):
        return "tool_use"
    return _STOP_REASONS.get(str(finish_reason), "end_turn")


def usage(prompt_tokens: int | None, cached_tokens: int | None, completion_tokens: int | None) -> dict[str, Any]:
    """Tokens as Anthropic counts: those from the cache apart from the others of the prompt."""
    cached = cached_tokens or 0
    return {
        "input_tokens": max(0, (prompt_tokens or 0) - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": completion_tokens or 0,
    }


def thinking_block(text: str) -> dict[str, Any]:
    """Nobody here signs thoughts; clients want the field."""
    return {"type": "thinking", "thinking": text, "signature": ""}


def _texts(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    thought, text = said.get("reasoning_content"), said.get("content")
    blocks = [thinking_block(thought)] if isinstance(thought, str) and thought else []
    return [*blocks, {"type": "text", "text": text}] if isinstance(text, str) and text else blocks


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    given = json.loads(function.get("arguments") or "{}")
    if not isinstance(given, dict):
        raise ValueError(BAD_CALL)
    return {"type": "tool_use", "id": call.get("id") or "", "name": function.get("name") or "", "input": given}


def error_body(error: RoostError, request_id: str = "") -> dict[str, Any]:
    """The error object; clients shorten their conversation when they read that a prompt is too long."""
    kind = _ERROR_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    message = error.message
    if isinstance(error, ContextLengthExceeded):
        message = f"prompt is too long: {message}"
    told = {"type": "error", "error": {"type": kind, "message": message}}
    return {**told, "request_id": request_id} if request_id else told


def error_bytes(error: RoostError, request_id: str = "") -> bytes:
    return json.dumps(error_body(error, request_id), ensure_ascii=False).encode("utf-8", "backslashreplace")


def error_event(error: RoostError, request_id: str) -> bytes:
    """The last event of a stream that failed after its 200."""
    told = error_body(error, request_id)
    return event(told.pop("type"), **told)


def event(name: str, **values: Any) -> bytes:
    """One event of a stream; its type stands in its name and in its data."""
    data = quick_literal({"type": name, **values})
    return f"event: {name}\ndata: {data}\n\n".encode()


def delta_event(place: int, kind: str, key: str, piece: str) -> bytes:
    """The same for what comes with each token."""
    delta = f'{{"type":"{kind}","{key}":{quick_literal(piece)}}}'
    data = f'{{"type":"content_block_delta","index":{place},"delta":{delta}}}'
    return f"event: content_block_delta\ndata: {data}\n\n".encode()

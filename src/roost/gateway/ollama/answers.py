"""Our answers in Ollama's words: a piece of a message, its last line with the numbers, an error. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from roost.errors import RoostError

#: What the tool call of an answer must look like to be passed on.
BAD_CALL = "the engine sent a tool call whose arguments are not a JSON object"
#: MLX servers and llama.cpp name the reasoning differently.
_REASONING = ("reasoning_content", "reasoning")
_NANOSECONDS = 1_000_000_000


class Shape(StrEnum):
    """Where the text stands: /api/chat and /api/generate differ in nothing else."""

    MESSAGE = "message"
    RESPONSE = "response"


@dataclass(frozen=True)
class Clock:
    """What is known of a request's times, in seconds."""

    total_s: float
    #: In line and loading, until a worker took it.
    waited_s: float | None = None
    first_token_s: float | None = None


def piece(shape: Shape, text: str, thinking: str = "", calls: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The part of a line that carries what the model said."""
    said = {"thinking": thinking} if thinking else {}
    if shape is Shape.RESPONSE:
        return {"response": text, **said}
    made = {"tool_calls": list(calls)} if calls else {}
    return {"message": {"role": "assistant", "content": text, **said, **made}}


def line(model_id: str, said: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One object of a stream, or the whole answer."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"model": model_id, "created_at": now, **said, "done": False, **more}


def thinking_of(message: Mapping[str, Any]) -> str:
    """The reasoning of a message or of its delta."""
    return next((value for key in _REASONING if isinstance(value := message.get(key), str)), "")


def logprobs_of(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Log probabilities as Ollama names them; nothing when there are none."""
    found = choice.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return {"logprobs": content} if content else {}


def calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tool calls with arguments as objects. Raises ValueError where the model wrote no object."""
    return [_call(index, call) for index, call in enumerate(message.get("tool_calls") or ())]


def _call(index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    # Some engines write nothing where a function takes no arguments.
    arguments = json.loads(function.get("arguments") or "{}")
    if not isinstance(arguments, dict):
        raise ValueError(BAD_CALL)
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "function": {"index": index, "name": function.get("name") or "", "arguments": arguments}}


def ending(
    finish_reason: str | None, prompt_tokens: int | None, tokens: int | None, clock: Clock, timings: object
) -> dict[str, Any]:
    """What the last line adds; a tool call is an ordinary stop to Ollama's clients."""
    reason = "stop" if finish_reason in (None, "tool_calls", "function_call") else finish_reason
    counts = {"prompt_eval_count": prompt_tokens, "eval_count": tokens}
    known = {key: count for key, count in counts.items() if count is not None}
    return {"done": True, "done_reason": reason, **durations(clock, timings), **known}


def durations(clock: Clock, timings: object) -> dict[str, int]:
    """Nanoseconds: the engine's own where it tells them (llama.cpp), else by our clock."""
    told = timings if isinstance(timings, Mapping) else {}
    load_s = clock.waited_s or 0.0
    first_s = load_s if clock.first_token_s is None else clock.first_token_s
    prompt_s = _told_s(told, "prompt_ms", first_s - load_s)
    eval_s = _told_s(told, "predicted_ms", clock.total_s - first_s)
    spent = {"total": clock.total_s, "load": load_s, "prompt_eval": prompt_s, "eval": eval_s}
    # Clients divide by eval_duration.
    return {f"{name}_duration": max(1, int(seconds * _NANOSECONDS)) for name, seconds in spent.items()}


def _told_s(told: Mapping[str, Any], key: str, else_s: float) -> float:
    value = told.get(key)
    return value / 1000 if isinstance(value, int | float) and value > 0 else else_s


def error_bytes(error: RoostError, request_id: str = "") -> bytes:
    """An error as the only words these clients read."""
    return json.dumps({"error": error.message}, ensure_ascii=False).encode("utf-8", "backslashreplace")


def line_bytes(value: Mapping[str, Any]) -> bytes:
    """One line of NDJSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"

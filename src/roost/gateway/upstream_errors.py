"""What an engine says when it refuses or breaks, as our errors. Pure; no prompt text passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from roost.errors import (
    BadGateway,
    BadRequest,
    ConcurrencyLimit,
    InternalError,
    ModelLoading,
    NodeUnreachable,
    Refused,
    RoostError,
    ShuttingDown,
    UpstreamCrashed,
    UpstreamDisconnected,
    UpstreamStalled,
    WorkerFailed,
    WorkerOutOfMemory,
)
from roost.gateway.context import too_long

_LONGEST_MESSAGE = 300
#: So many characters of a prompt in an engine's message make it unfit to be passed on.
_TELLING_CHARACTERS = 12
_VLLM_CONTEXT = re.compile(r"maximum context length is (\d+) tokens.*?(\d+) tokens", re.DOTALL)
#: llama.cpp with a unified KV cache fails running requests that would fit one at a time.
_WINDOW_SHARED = "context size has been exceeded"
_LLAMA_BATCH = re.compile(r"input \((\d+) tokens\) is (?:too large|larger)\D+(\d+)")


def translate(
    status: int, body: bytes, model_id: str, prompts: Iterable[str] = (), param: str = "messages"
) -> RoostError:
    """An engine's non-200 answer (or its error frame, status 500) as ours.

    Knows llama.cpp's integer codes, OpenAI's shape and FastAPI's `detail`; the engine's sentence is passed on
    unless it repeats the prompt.
    """
    error = _error_object(body)
    message = str(error.get("message") or "")
    if (over := _context_numbers(error, message)) is not None:
        return too_long(model_id, over[0], over[1], param)
    if status >= 500 and _WINDOW_SHARED in message.lower():
        return ConcurrencyLimit(
            f"the requests that {model_id} runs at once share its context window, and they grew beyond it together; "
            "try again shortly, or lower max_tokens",
            retry_after_s=1,
        )
    if status == 503 and "loading" in message.lower():
        return ModelLoading(f"{model_id} is still loading", retry_after_s=1)
    said = safe(message, prompts)
    if status in _BY_STATUS:
        kind, retry_after_s, lead = _BY_STATUS[status]
        return kind(f"{lead.format(model=model_id)}{said}", retry_after_s=retry_after_s)
    if 400 <= status < 500:
        return BadRequest(f"the engine of {model_id} refused the request (status {status}){said}")
    return InternalError(f'the engine of {model_id} failed (status {status}){said}; see "roost logs {model_id}"')


_BY_STATUS: Mapping[int, tuple[type[RoostError], float | None, str]] = {
    401: (BadGateway, None, "the engine of {model} refused the key that roost gave it"),
    403: (BadGateway, None, "the engine of {model} refused the key that roost gave it"),
    404: (Refused, None, "the engine of {model} does not offer this"),
    405: (Refused, None, "the engine of {model} does not offer this"),
    501: (Refused, None, "the engine of {model} does not offer this"),
    429: (ConcurrencyLimit, 1.0, "the engine of {model} has no room for another request"),
    503: (WorkerFailed, 1.0, "the engine of {model} cannot serve now"),
    504: (UpstreamStalled, None, "the engine of {model} gave up waiting for itself"),
}


def translate_frame(frame: Mapping[str, Any], model_id: str, prompts: Iterable[str] = ()) -> RoostError:
    """An error object inside a stream."""
    inner = frame.get("error")
    code = inner.get("code") if isinstance(inner, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return translate(status, json.dumps(frame).encode(), model_id, prompts)


def lost(why: str, draining: bool, started: bool, model_id: str) -> RoostError:
    """Why a worker's connection ended, as an error: `why` is `Ticket.why_lost()`."""
    reason = f": {why}" if why else ""
    if draining:
        return ShuttingDown(f"roost is shutting down; {model_id} was stopped in mid-answer", retry_after_s=5)
    if "stall" in why:
        return UpstreamStalled(f"{model_id} made no progress and was stopped{reason}")
    if "memory" in why:
        return WorkerOutOfMemory(f"the worker of {model_id} ran out of memory{reason}")
    if started:
        return UpstreamDisconnected(f"the worker of {model_id} went away in mid-answer{reason}")
    if why.startswith("cannot reach"):
        return NodeUnreachable(why, retry_after_s=2)
    return UpstreamCrashed(f"the worker of {model_id} went away before it answered{reason}", retry_after_s=1)


def chatter(model_id: str) -> RoostError:
    """An engine that keeps a stream open with comments."""
    return UpstreamStalled(
        f"{model_id} made no progress: its engine sent comments, and no token for longer than a first one may take; "
        "the request was ended (engine.stall_s)"
    )


def _error_object(body: bytes) -> Mapping[str, Any]:
    """The engine's error, whatever its shape; empty when there is none to be read."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    inner = value.get("error", value)
    if isinstance(inner, str):
        return {"message": inner}
    if isinstance(inner, dict) and "detail" in inner and "message" not in inner:
        return {"message": _detail(inner["detail"])}
    return inner if isinstance(inner, dict) else {}


def _detail(detail: object) -> str:
    """FastAPI's 422: place and sentence of each problem, never its `input`."""
    if isinstance(detail, str):
        return detail
    items = detail if isinstance(detail, list) else []
    said = [
        f"{'.'.join(str(part) for part in item.get('loc', ()))}: {item.get('msg', '')}"
        for item in items
        if isinstance(item, dict)
    ]
    return "; ".join(said)


def _context_numbers(error: Mapping[str, Any], message: str) -> tuple[int, int] | None:
    """Prompt tokens and window, when the error is about them."""
    asked, window = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(asked, int) and isinstance(window, int):
        return asked, window
    if match := _VLLM_CONTEXT.search(message):
        return int(match[2]), int(match[1])
    if match := _LLAMA_BATCH.search(message):
        return int(match[1]), int(match[2])
    return None


def safe(message: str, prompts: Iterable[str]) -> str:
    """The engine's sentence as an ending, or nothing when it holds a piece of the prompt."""
    line = " ".join(message.split())[:_LONGEST_MESSAGE]
    if not line or any(_repeats(message, prompt) for prompt in prompts):
        return ""
    return f": {line}"


def _repeats(message: str, prompt: str) -> bool:
    size = min(_TELLING_CHARACTERS, len(prompt.strip()))
    if size == 0:
        return False
    if size < _TELLING_CHARACTERS:
        return prompt.strip() in message
    return any(message[at : at + size] in prompt for at in range(len(message) - size + 1))

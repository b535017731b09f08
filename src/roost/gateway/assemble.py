"""A whole answer from the chunks of a stream, for engines whose disconnect is only seen while they stream."""

from __future__ import annotations

from typing import Any

#: Text that arrives in pieces; every other field of a delta is taken as it is.
_PIECEWISE = ("content", "reasoning", "reasoning_content", "refusal", "text", "arguments")
_SHAPES = {"chat.completion.chunk": "chat.completion"}


class Assembler:
    """Chunks in, one OpenAI answer out: chat (tool calls, reasoning, logprobs, n choices) and completions."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Take one chunk; top-level fields of later chunks (usage, timings) win unless they are null."""
        for key, value in chunk.items():
            if key != "choices" and (value is not None or key not in self._answer):
                self._answer[key] = value
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def answer(self) -> dict[str, Any]:
        """The answer so far, in the field order of the first chunk."""
        kind = str(self._answer.get("object", ""))
        whole = self._answer | {"object": _SHAPES.get(kind, kind)}
        whole["choices"] = [_finished(choice) for _, choice in sorted(self._choices.items())]
        return whole

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = int(choice.get("index", 0))
        held = self._choices.setdefault(index, {"index": index, "finish_reason": None})
        for key, value in choice.items():
            if key == "delta":
                _merge_delta(held.setdefault("message", {"role": "assistant", "content": None}), value or {})
            elif key == "text":
                held["text"] = held.get("text", "") + (value or "")
            elif key == "logprobs":
                held["logprobs"] = _joined_logprobs(held.get("logprobs"), value)
            elif value is not None or key not in held:
                held[key] = value


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in value or ():
                _merge_call(message.setdefault("tool_calls", {}), call)
        elif key in _PIECEWISE and isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        elif value is not None or key not in message:
            message[key] = value


def _merge_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    call = calls.setdefault(int(piece.get("index", 0)), {})
    for key, value in piece.items():
        if key == "function":
            _merge_function(call.setdefault("function", {}), value or {})
        elif key != "index" and value is not None:
            call[key] = value


def _merge_function(function: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if key == "arguments" and isinstance(value, str):
            function[key] = function.get(key, "") + value
        elif value is not None:
            function[key] = value


def _joined_logprobs(held: Any, piece: Any) -> Any:
    """Lists are joined field by field: `content` of chat, `tokens`, `token_logprobs` and so on of completions."""
    if not isinstance(piece, dict) or not isinstance(held, dict):
        return piece if held is None else held
    joined = dict(held)
    for key, value in piece.items():
        before = joined.get(key)
        joined[key] = before + value if isinstance(before, list) and isinstance(value, list) else before or value
    return joined


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if message is None or "tool_calls" not in message:
        return choice
    calls = [{"type": "function", **call} for _, call in sorted(message["tool_calls"].items())]
    return choice | {"message": message | {"tool_calls": calls}}

"""A whole answer from the chunks of a stream, for engines whose disconnect is only seen while they stream."""

from __future__ import annotations

from typing import Any

#: Text that arrives in pieces; every other field of a delta is taken as it is.
_PIECEWISE = ("content", "reasoning", "reasoning_content", "refusal", "text", "arguments")
#: Objects of a delta that come in pieces too, and their text.
_PIECES_OF = {"audio": ("data", "transcript"), "function_call": ("arguments",)}
_SHAPES = {"chat.completion.chunk": "chat.completion"}


class _Text(list[str]):
    """Text in pieces: adding them to a string one by one would copy it each time."""


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
                _add_text(held, key, value or "")
            elif key == "logprobs":
                held["logprobs"] = _joined_logprobs(held.get("logprobs"), value)
            elif value is not None or key not in held:
                held[key] = value


def _add_text(held: dict[str, Any], key: str, piece: str) -> None:
    if not isinstance(held.get(key), _Text):
        held[key] = _Text([str(held[key])] if held.get(key) else [])
    held[key].append(piece)


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in value or ():
                _merge_call(message.setdefault("tool_calls", {}), call)
        elif key in _PIECES_OF and isinstance(value, dict):
            _merge_object(message, key, value)
        elif key in _PIECEWISE and isinstance(value, str):
            _add_text(message, key, value)
        elif isinstance(value, list) and isinstance(message.get(key), list) and not isinstance(message[key], _Text):
            # Annotations, images, details of thoughts: each piece brings further ones.
            message[key] = [*message[key], *value]
        elif value is not None or key not in message:
            message[key] = value


def _merge_object(message: dict[str, Any], key: str, piece: dict[str, Any]) -> None:
    held = message.get(key)
    if not isinstance(held, dict):
        held = message[key] = {}
    for name, value in piece.items():
        if name in _PIECES_OF[key] and isinstance(value, str):
            _add_text(held, name, value)
        elif value is not None:
            held[name] = value


def _merge_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    call = calls.setdefault(_place_of(calls, piece), {})
    for key, value in piece.items():
        if key == "function":
            _merge_function(call.setdefault("function", {}), value or {})
        elif key != "index" and value is not None:
            call[key] = value


def _place_of(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> int:
    """Some providers number no calls, or all of them 0: one with a name and an id of its own is another one."""
    index = piece.get("index")
    place = index if isinstance(index, int) else max(calls, default=0)
    held = calls.get(place)
    begins = bool(piece.get("id")) and bool((piece.get("function") or {}).get("name"))
    is_other = begins and held is not None and held.get("id") not in (None, piece["id"])
    return max(calls) + 1 if is_other else place


def _merge_function(function: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if key == "arguments" and isinstance(value, str):
            _add_text(function, key, value)
        elif value is not None:
            function[key] = value


def _joined_logprobs(held: Any, piece: Any) -> Any:
    """Lists are joined field by field: `content` of chat, `tokens`, `token_logprobs` and so on of completions."""
    if not isinstance(piece, dict) or not isinstance(held, dict):
        return piece if held is None else held
    for key, value in piece.items():
        before = held.get(key)
        if isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        else:
            held[key] = before or value
    return held


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    done = _joined(choice)
    if "message" not in choice:
        return done
    message = done["message"] = _joined(choice["message"])
    for key in _PIECES_OF:
        if isinstance(message.get(key), dict):
            message[key] = _joined(message[key])
    if "tool_calls" in message:
        message["tool_calls"] = [_finished_call(call) for _, call in sorted(message["tool_calls"].items())]
    return done


def _finished_call(call: dict[str, Any]) -> dict[str, Any]:
    done = {"type": "function", **call}
    return done | {"function": _joined(done["function"])} if "function" in done else done


def _joined(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: "".join(value) if isinstance(value, _Text) else value for key, value in fields.items()}

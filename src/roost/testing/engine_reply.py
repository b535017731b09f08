"""The words of the stand-in engine: pure functions from a request to the values of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from roost.testing.engine_options import Behaviour

#: A fixed creation time: the same request gets the same bytes.
CREATED = 1_700_000_000


@dataclass(frozen=True)
class Reply:
    """All that is said, token by token; `chat` tells which of the two shapes it takes."""

    id: str
    model: str
    chat: bool
    tokens: tuple[str, ...]
    finish_reason: str | None
    prompt_tokens: int
    reasoning: str | None = None
    tool_call: Mapping[str, str] | None = None

    @property
    def usage(self) -> dict[str, int]:
        completion = len(self.tokens)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    @property
    def timings(self) -> dict[str, float]:
        """The ledger that llama.cpp adds to its answers."""
        return {"cache_n": 0, "prompt_n": self.prompt_tokens, "predicted_n": len(self.tokens)}


def compose(model: str, digest: str, chat: bool, body: Mapping[str, Any], behaviour: Behaviour) -> Reply:
    """The deterministic reply: it names the served model and the digest of the request's bytes."""
    words = reply_words(model, digest, at_turn(behaviour, body))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    cut = isinstance(limit, int) and limit < len(words)
    finish = "tool_calls" if behaviour.tool_call else "length" if cut else "stop"
    return Reply(
        id=f"{'chatcmpl' if chat else 'cmpl'}-{digest}",
        model=model,
        chat=chat,
        tokens=words[:limit] if cut else words,
        finish_reason=None if behaviour.no_finish else behaviour.finish_reason or finish,
        prompt_tokens=count_tokens(prompt_text(body)),
        reasoning=behaviour.reasoning,
        tool_call=behaviour.tool_call,
    )


def at_turn(behaviour: Behaviour, body: Mapping[str, Any]) -> Behaviour:
    """What is said at this turn of a script. A request without tools, for a title say, is no turn of it."""
    if not behaviour.turns or not body.get("tools"):
        return behaviour
    results = sum(message.get("role") == "tool" for message in body.get("messages") or ())
    return replace(behaviour, text=behaviour.turns[min(results, len(behaviour.turns) - 1)])


def reply_words(model: str, digest: str, behaviour: Behaviour) -> tuple[str, ...]:
    """The tokens: a sentence, a text of the test's own, or as many as it asks for."""
    if behaviour.pieces is not None:
        return tuple(behaviour.pieces)
    text = behaviour.text if behaviour.text is not None else f"{model} read request {digest} ."
    words = text.split(" ")
    tokens = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    if behaviour.tokens is not None:
        tokens = [*tokens, *(f" t{index}" for index in range(len(tokens), behaviour.tokens))][: behaviour.tokens]
    if behaviour.huge_token_bytes is not None:
        tokens = [token.ljust(behaviour.huge_token_bytes, "x") for token in tokens]
    return tuple(tokens)


def prompt_text(body: Mapping[str, Any]) -> str:
    """The words that a request prompts with, whatever its shape."""
    parts: list[str] = []
    for message in body.get("messages") or ():
        content = message.get("content")
        if isinstance(content, str):
            parts.append(content)
        else:
            parts.extend(part["text"] for part in content or () if isinstance(part.get("text"), str))
    for key in ("prompt", "input", "content", "query"):
        value = body.get(key)
        parts.extend([value] if isinstance(value, str) else [item for item in value or () if isinstance(item, str)])
    return " ".join(parts)


def reads_history(messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a chat template could write these messages: it takes the arguments of calls for objects."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return all(_is_object_text(call["function"].get("arguments")) for call in calls)


def _is_object_text(arguments: object) -> bool:
    try:
        return isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


def count_tokens(text: str) -> int:
    """The stand-in's tokens are words."""
    return len(text.split())


def whole_answer(reply: Reply) -> dict[str, Any]:
    """The body of an answer that is not a stream."""
    text = "".join(reply.tokens)
    choice: dict[str, Any] = {"index": 0, "finish_reason": reply.finish_reason, "logprobs": None}
    if not reply.chat:
        choice["text"] = text
    else:
        choice["message"] = _message(reply, text)
    return {
        "id": reply.id,
        "object": "chat.completion" if reply.chat else "text_completion",
        "created": CREATED,
        "model": reply.model,
        "choices": [choice],
        "usage": reply.usage,
        "timings": reply.timings,
    }


def _message(reply: Reply, text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_call is not None:
        message["content"] = None
        message["tool_calls"] = [{"id": "call_0", "type": "function", "function": dict(reply.tool_call)}]
    return message


def opening_chunks(reply: Reply) -> Iterator[dict[str, Any]]:
    """What comes before the first token: the role-only chunk of a chat, and its reasoning."""
    if reply.chat:
        yield chunk(reply, {"role": "assistant", "content": None})
        if reply.reasoning is not None:
            yield chunk(reply, {"reasoning_content": reply.reasoning})


def token_chunk(reply: Reply, index: int) -> dict[str, Any]:
    """The chunk of one token; a tool call's arguments arrive in as many pieces as there are tokens."""
    if reply.tool_call is None:
        return chunk(reply, {"content": reply.tokens[index]})
    arguments, pieces = reply.tool_call["arguments"], len(reply.tokens)
    piece = arguments[len(arguments) * index // pieces : len(arguments) * (index + 1) // pieces]
    call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
    if index == 0:
        call |= {"id": "call_0", "type": "function", "function": {"name": reply.tool_call["name"], "arguments": piece}}
    return chunk(reply, {"tool_calls": [call]})


def closing_chunks(reply: Reply, include_usage: bool) -> Iterator[dict[str, Any]]:
    """finish_reason, then the usage chunk with empty choices when the request asked for it."""
    if reply.finish_reason is not None:
        yield chunk(reply, {}, reply.finish_reason) | {"timings": reply.timings}
    if include_usage:
        yield chunk(reply, {}) | {"choices": [], "usage": reply.usage}


def chunk(reply: Reply, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
    if reply.chat:
        choice["delta"] = delta
    else:
        choice["text"] = delta.get("content", "")
    return {
        "id": reply.id,
        "object": "chat.completion.chunk" if reply.chat else "text_completion",
        "created": CREATED,
        "model": reply.model,
        "choices": [choice],
    }


def frame(value: Mapping[str, Any] | str, crlf: bool = False) -> bytes:
    """One SSE event."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    end = "\r\n\r\n" if crlf else "\n\n"
    return f"data: {text}{end}".encode()


def embedding(text: str, dimensions: int = 8) -> list[float]:
    """Numbers from 0 to 1 that depend on the text alone."""
    return [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:dimensions]]


def relevance(query: str, document: str) -> float:
    """The share of the query's words that the document has."""
    words = set(query.lower().split())
    return len(words & set(document.lower().split())) / max(1, len(words))

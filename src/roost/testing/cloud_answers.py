"""What a scripted provider says, in OpenAI's words and in Anthropic's: whole, and as the events of a stream. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Tokens of every prompt, and those of them that come from a cache.
PROMPT_TOKENS, CACHED_TOKENS = 20, 8


@dataclass(frozen=True)
class Said:
    """One answer, whatever the protocol."""

    model: str
    text: str
    thought: str = ""
    #: Name and arguments of a call; None: nothing is called.
    call: tuple[str, Mapping[str, Any]] | None = None
    #: The token limit came first.
    cut: bool = False

    @property
    def words(self) -> list[str]:
        """The text in the pieces of a stream."""
        return [f"{word} " for word in self.text.split(" ")[:-1]] + self.text.split(" ")[-1:]

    @property
    def completion_tokens(self) -> int:
        return len(self.words) + len(self.thought.split()) + (5 if self.call else 0)


def openai_chat(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.call:
        message["tool_calls"] = [_openai_call(said.call)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
    return {**_openai_head("chat.completion", said), "choices": [choice], "usage": openai_usage(said)}


def openai_completion(said: Said) -> dict[str, Any]:
    choice = {"index": 0, "text": said.text, "logprobs": None, "finish_reason": _finish(said)}
    return {**_openai_head("text_completion", said), "choices": [choice], "usage": openai_usage(said)}


def openai_embeddings(model: str, texts: list[Any]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": at, "embedding": [0.6, 0.8]} for at in range(len(texts))]
    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def openai_events(said: Said, include_usage: bool) -> Iterator[bytes]:
    """Each event of a chat's stream, `[DONE]` the last."""
    for delta in _openai_deltas(said):
        yield _data(_chunk(said, delta, None))
    yield _data(_chunk(said, {}, _finish(said)))
    if include_usage:
        yield _data({**_openai_head("chat.completion.chunk", said), "choices": [], "usage": openai_usage(said)})
    yield b"data: [DONE]\n\n"


def openai_text_events(said: Said, include_usage: bool) -> Iterator[bytes]:
    """The same of a plain completion."""
    head = _openai_head("text_completion", said)
    for at, word in enumerate(said.words):
        reason = _finish(said) if at == len(said.words) - 1 else None
        yield _data({**head, "choices": [{"index": 0, "text": word, "logprobs": None, "finish_reason": reason}]})
    if include_usage:
        yield _data({**head, "choices": [], "usage": openai_usage(said)})
    yield b"data: [DONE]\n\n"


def openai_error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def openai_usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": said.completion_tokens,
        "total_tokens": PROMPT_TOKENS + said.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def _openai_deltas(said: Said) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for word in said.thought.split():
        yield {"reasoning_content": f"{word} "}
    for word in said.words:
        yield {"content": word}
    if said.call:
        call = _openai_call(said.call)
        arguments = call["function"]["arguments"]
        first = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [first]}
        for piece in (arguments[:5], arguments[5:]):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _openai_call(call: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}}


def _openai_head(kind: str, said: Said) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_764_000_000, "model": said.model}


def _chunk(said: Said, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**_openai_head("chat.completion.chunk", said), "choices": [choice]}


def _finish(said: Said) -> str:
    return "length" if said.cut else "tool_calls" if said.call else "stop"


def _data(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def anthropic_message(said: Said) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": list(_blocks(said)),
        "stop_reason": _stop(said),
        "stop_sequence": None,
        "usage": _anthropic_usage(said.completion_tokens),
    }


def anthropic_events(said: Said) -> Iterator[bytes]:
    """Each event of a message's stream, `message_stop` the last."""
    empty = {**anthropic_message(said), "content": [], "stop_reason": None, "usage": _anthropic_usage(1)}
    yield _event("message_start", message=empty)
    yield _event("ping")
    for place, block in enumerate(_blocks(said)):
        yield _event("content_block_start", index=place, content_block=_begun(block))
        for delta in _anthropic_deltas(block):
            yield _event("content_block_delta", index=place, delta=delta)
        yield _event("content_block_stop", index=place)
    ending = {"stop_reason": _stop(said), "stop_sequence": None}
    yield _event("message_delta", delta=ending, usage={"output_tokens": said.completion_tokens})
    yield _event("message_stop")


def anthropic_error(message: str, kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def anthropic_error_event(message: str, kind: str) -> bytes:
    """An error in the middle of a stream."""
    return _event("error", error={"type": kind, "message": message})


def _blocks(said: Said) -> Iterator[dict[str, Any]]:
    if said.thought:
        yield {"type": "thinking", "thinking": said.thought, "signature": "c2lnbmVk"}
    if said.text:
        yield {"type": "text", "text": said.text}
    if said.call:
        yield {"type": "tool_use", "id": "toolu_1", "name": said.call[0], "input": dict(said.call[1])}


def _begun(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "thinking": {"thinking": "", "signature": ""},
        "text": {"text": ""},
        "tool_use": {"input": {}},
    }
    return {**block, **empty[block["type"]]}


def _anthropic_deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "thinking":
            for word in block["thinking"].split():
                yield {"type": "thinking_delta", "thinking": f"{word} "}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "text":
            for word in block["text"].split(" "):
                yield {"type": "text_delta", "text": f"{word} "}
        case "tool_use":
            written = json.dumps(block["input"])
            for piece in ("", written[:5], written[5:]):
                yield {"type": "input_json_delta", "partial_json": piece}


def _anthropic_usage(output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": PROMPT_TOKENS - CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": CACHED_TOKENS,
        "output_tokens": output_tokens,
    }


def _stop(said: Said) -> str:
    return "max_tokens" if said.cut else "tool_use" if said.call else "end_turn"


def _event(name: str, **values: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **values})}\n\n".encode()

"""Our answers as responses: their items, how they ended, what they used. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from roost.errors import RoostError
from roost.gateway.splice import name_literal, quick_literal

#: Of a chat's finish_reason, why a response is not whole.
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
#: Fields of a request that its response repeats, with what they are when nobody says.
_REPEATED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


def begun_response(asked: Mapping[str, Any], response_id: str, model_id: str) -> dict[str, Any]:
    """A response to which nothing has been said yet."""
    repeated = {key: asked[key] if asked.get(key) is not None else value for key, value in _REPEATED.items()}
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model_id,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **repeated,
    }


def ended_response(
    begun: Mapping[str, Any], output: list[dict[str, Any]], finish_reason: object, used: Mapping[str, Any]
) -> dict[str, Any]:
    """The same with all that was said."""
    cut = _CUT.get(str(finish_reason))
    ending = {"status": "incomplete", "incomplete_details": {"reason": cut}} if cut else {"status": "completed"}
    return {**begun, "output": output, "usage": used, **ending}


def failed_response(begun: Mapping[str, Any], error: RoostError) -> dict[str, Any]:
    return {**begun, "status": "failed", "error": {"code": error.code, "message": error.message}}


def output_of(answer: Mapping[str, Any], response_id: str) -> list[dict[str, Any]]:
    """The items of a whole chat answer."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    said = choice.get("message") or {}
    items: list[dict[str, Any]] = []
    if thought := said.get("reasoning_content"):
        items.append(thought_item(item_id("rs", response_id, len(items)), thought))
    if text := said.get("content"):
        items.append(text_item(item_id("msg", response_id, len(items)), text))
    for call in said.get("tool_calls") or ():
        items.append(call_item(item_id("fc", response_id, len(items)), call))
    return items


def item_id(kind: str, response_id: str, place: int) -> str:
    """An id that no other item of any response has."""
    return f"{kind}_{response_id.removeprefix('resp_')}_{place}"


def text_item(named: str, text: str) -> dict[str, Any]:
    content = [text_part(text)]
    return {"id": named, "type": "message", "status": "completed", "role": "assistant", "content": content}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def thought_item(named: str, text: str) -> dict[str, Any]:
    return {"id": named, "type": "reasoning", "status": "completed", "summary": [], "content": [thought_part(text)]}


def thought_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def call_item(named: str, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "id": named,
        "type": "function_call",
        "status": "completed",
        "call_id": call.get("id") or named,
        "name": function.get("name") or "",
        "arguments": function.get("arguments") or "{}",
    }


def usage(prompt_tokens: int | None, cached_tokens: int | None, completion_tokens: int | None) -> dict[str, Any]:
    """Engines do not tell how many of the tokens were thoughts."""
    prompt, completion = prompt_tokens or 0, completion_tokens or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached_tokens or 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def delta_bytes(event_name: str, number: int, place: int, named: str, piece: str, *, text: bool) -> bytes:
    """The same as `event_bytes` for what comes with each token: a piece of an item's text or thought."""
    data = (
        f'{{"type":"{event_name}","sequence_number":{number},"output_index":{place},"item_id":{name_literal(named)},'
        f'"content_index":0,"delta":{quick_literal(piece)}{_NO_LOGPROBS if text else ""}}}'
    )
    return f"event: {event_name}\ndata: {data}\n\n".encode()


_NO_LOGPROBS = ',"logprobs":[]'


def event_bytes(event_name: str, **values: Any) -> bytes:
    """One event of a stream; its type stands in its name and in its data."""
    data = quick_literal({"type": event_name, **values})
    return f"event: {event_name}\ndata: {data}\n\n".encode()

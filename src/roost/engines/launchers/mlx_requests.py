"""What a request to mlx_lm.server must look like before the engine may see it. Pure; imports nothing but the standard
library, because it runs in the engine's environment too.

mlx-lm 0.32.2 raises some of these errors inside its one generation thread, which ends all generation for ever, and
answers the others without a code.
"""

from __future__ import annotations

import json
from typing import Any

JsonObject = dict[str, Any]

CHAT_ROUTES = ("/v1/chat/completions", "/chat/completions")
TEXT_ROUTES = ("/v1/completions",)
#: Tells how many tokens the prompt of a body has.
COUNT_ROUTE = "/roost/count"
#: Gives the memory of cached prompts back.
DROP_ROUTE = "/roost/cache/drop"
#: Each would replace the resident model or end the running batch.
FOREIGN_FIELDS = ("adapters", "draft_model", "num_draft_tokens")
#: mx.random.seed takes nothing else.
LARGEST_SEED = 2**64 - 1


class Refusal(BaseException):
    """An answer instead of a completion. A BaseException, because the engine turns every Exception into a 404."""

    def __init__(self, status: int, message: str, code: str = "invalid_request", **more: Any) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def parse(raw: bytes) -> JsonObject:
    """The body without what is not set and what is not a client's business. Raises Refusal, never with its text."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"the request body is not JSON{place}", "invalid_json") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the request body is not a JSON object", "invalid_type")
    # null means "not set" in OpenAI's API; the engine takes it for a value of the wrong type.
    return {key: value for key, value in body.items() if value is not None and key not in FOREIGN_FIELDS}


def checked(path: str, raw: bytes, served_name: str, vocabulary_size: int | None) -> JsonObject:
    """The body that the engine may see. Raises Refusal: 400, and 404 for another model or route."""
    if path not in (*CHAT_ROUTES, *TEXT_ROUTES, COUNT_ROUTE):
        raise Refusal(404, f"there is no route {path}", "not_found")
    body = parse(raw)
    if body.setdefault("model", served_name) != served_name:
        raise Refusal(404, f"this worker serves {served_name} only", "model_not_found")
    is_chat = path in CHAT_ROUTES or (path == COUNT_ROUTE and "messages" in body)
    (_check_chat if is_chat else _check_text)(body)
    _check_options(body)
    if vocabulary_size is not None:
        _check_tokens(body, vocabulary_size)
    return body


def _check_chat(body: JsonObject) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Refusal(400, "messages must be a list of at least one object", "invalid_type")
    for message in messages:
        parts = message.get("content")
        # The engine would fetch the URL of an image.
        if isinstance(parts, list) and any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
            raise Refusal(400, "this engine takes text parts only", "unsupported_parameter")


def _check_text(body: JsonObject) -> None:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        body["prompt"] = prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Refusal(400, "prompt must be one string", "invalid_type")


def _check_options(body: JsonObject) -> None:
    stop = body.get("stop", [])
    words = [stop] if isinstance(stop, str) else stop
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise Refusal(400, "stop must be a string or a list of strings, none empty", "invalid_type")
    if body.get("n", 1) != 1:
        raise Refusal(400, "this engine gives one choice: n must be 1", "unsupported_parameter")
    options = body.get("stream_options", {})
    if not isinstance(options, dict):
        raise Refusal(400, "stream_options must be an object", "invalid_type")
    body["stream_options"] = {"include_usage": False, **options}
    seed = body.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise Refusal(400, f"seed must be a whole number from 0 to {LARGEST_SEED}", "invalid_type")


def _check_tokens(body: JsonObject, vocabulary_size: int) -> None:
    top_k = body.get("top_k")
    if isinstance(top_k, int) and top_k >= vocabulary_size:
        del body["top_k"]  # all of them: the same as no limit
    bias = body.get("logit_bias", {})
    if not isinstance(bias, dict) or not all(key.isdecimal() and int(key) < vocabulary_size for key in bias):
        raise Refusal(400, f"logit_bias must map token ids below {vocabulary_size} to numbers", "invalid_type")

"""Bodies of /api/chat, /api/generate and /api/embed as bodies of our own routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, Refused
from roost.gateway.ollama.messages import content_of, openai_messages
from roost.gateway.ollama.options import Options, read_options
from roost.gateway.surfaces import CHAT, COMPLETIONS, EMBEDDINGS, Surface

#: Of /api/generate: they would replace the model's own template, or need a cache of our tokens that no client has.
_CANNOT = {
    "suffix": "there is no fill-in-the-middle here",
    "template": "the model's own chat template is used; send `raw` with a prompt that is whole",
    "context": "no token list is ever handed out; send the conversation to /api/chat",
}
_EFFORTS = ("low", "medium", "high")
#: Spellings of "at once" in `keep_alive`.
_AT_ONCE = (0, "0", "0s", "0m", "0h", "0ms")


@dataclass(frozen=True)
class Translated:
    """A request of ours that says what the caller's said."""

    surface: Surface
    body: dict[str, Any]
    options: Options


def from_chat(asked: Mapping[str, Any]) -> Translated:
    """Raises RoostError for what cannot be said in our body."""
    options = read_options(asked.get("options"))
    body = _common(asked, options) | {"messages": openai_messages(asked.get("messages"))}
    body |= {key: asked[key] for key in ("tools", "logprobs", "top_logprobs") if asked.get(key)}
    return Translated(CHAT, body | _thinking(asked.get("think")), options)


def from_generate(asked: Mapping[str, Any]) -> Translated:
    """A prompt becomes a chat of one turn; a raw one goes to the model as it is."""
    for key, why in _CANNOT.items():
        if asked.get(key):
            raise Refused(f"cannot use `{key}`: {why}", param=key)
    options = read_options(asked.get("options"))
    body = _common(asked, options)
    if asked.get("raw"):
        return Translated(COMPLETIONS, body | {"prompt": _raw_prompt(asked)}, options)
    system = [{"role": "system", "content": asked["system"]}] if asked.get("system") else []
    turn = {"role": "user", "content": content_of(asked.get("prompt") or "", asked.get("images"))}
    return Translated(CHAT, body | {"messages": [*system, turn]} | _thinking(asked.get("think")), options)


def from_embed(asked: Mapping[str, Any], input_key: str) -> Translated:
    """`input_key` is `input`, or `prompt` on the older route."""
    options = read_options(asked.get("options"))
    body: dict[str, Any] = {"encoding_format": "float"}
    sources = {"model": "model", "input": input_key, "dimensions": "dimensions"}
    body |= {ours: asked[theirs] for ours, theirs in sources.items() if asked.get(theirs) is not None}
    return Translated(EMBEDDINGS, body, options)


def asks_for_nothing(asked: Mapping[str, Any]) -> bool:
    """No messages, no prompt, no image: such a request loads or unloads its model."""
    return not any(asked.get(key) for key in ("messages", "prompt", "images"))


def unloads(asked: Mapping[str, Any]) -> bool:
    """Whether the model is to go at once."""
    keep_alive = asked.get("keep_alive")
    return keep_alive is not None and not isinstance(keep_alive, bool) and keep_alive in _AT_ONCE


def _common(asked: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """The fields that chat and generate share; a stream is what Ollama's clients get unless they say otherwise."""
    body = {"model": asked["model"]} if asked.get("model") is not None else {}
    stream = True if asked.get("stream") is None else asked["stream"]
    body |= {**options.fields, "stream": stream}
    if stream is True:
        body["stream_options"] = {"include_usage": True}
    return body | _response_format(asked.get("format"))


def _response_format(given: object) -> dict[str, Any]:
    match given:
        case None | "":
            return {}
        case "json":
            return {"response_format": {"type": "json_object"}}
        case dict():
            schema = {"name": "answer", "schema": given, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise InvalidType('`format` must be "json" or a JSON schema', param="format")


def _thinking(given: object) -> dict[str, Any]:
    """Arguments of the chat template; levels are for templates that know an effort."""
    if given is None or given == "":
        return {}
    if isinstance(given, bool):
        return {"chat_template_kwargs": {"enable_thinking": given}}
    if given in _EFFORTS:
        return {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": given}}
    raise InvalidType(f"`think` must be true, false, or one of {', '.join(_EFFORTS)}", param="think")


def _raw_prompt(asked: Mapping[str, Any]) -> Any:
    for key in ("system", "images", "think"):
        if asked.get(key):
            raise Refused(f"cannot use `{key}` with `raw`: a raw prompt goes to the model as it is", param=key)
    return asked.get("prompt")

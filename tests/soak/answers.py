"""Reading an answer: what came, and what is wrong with it by itself. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost import errors
from tests.soak.asked import Asked, Cast
from tests.soak.record import Ending, Request


@dataclass(frozen=True)
class Heard:
    """What a client received; the body without its framing, as far as it came."""

    ending: Ending
    sent_at: float
    ended_at: float
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class _Said:
    """An answer, whatever its shape."""

    text: str = ""
    names: set[str] = field(default_factory=set)
    error: dict[str, Any] | None = None
    finish: str | None = None
    usage: bool = False
    done: bool = False
    problem: str = ""


def codes() -> frozenset[str]:
    """The codes of roost's catalogue of errors."""
    return frozenset(error.code for error in _below(errors.RoostError))


def _below(kind: type[errors.RoostError]) -> Iterator[type[errors.RoostError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _below(error)


def read(asked: Asked, heard: Heard, cast: Cast) -> Request:
    """The request with what came of it."""
    begun = heard.status is not None
    streamed = begun and heard.headers.get("content-type", "").startswith("text/event-stream")
    whole = heard.ending is Ending.WHOLE
    said = _Said()
    if streamed:
        said = _read_stream(heard.body)
    elif whole:
        said = _read_object(heard.body)
    problem = said.problem or _problem(asked, heard, said, streamed) if whole else ""
    return Request(
        id=asked.id,
        consumer=asked.consumer,
        kind=asked.kind,
        asked=asked.name,
        sent_at=heard.sent_at,
        ended_at=heard.ended_at,
        ending=heard.ending,
        expects=asked.expects,
        status=heard.status,
        code=_code(said.error),
        framed=streamed and said.error is not None,
        told=heard.headers.get("x-roost-model") if said.names or said.text else None,
        names=frozenset(said.names),
        marks=cast.mark_of(said.text),
        problem=problem,
    )


def _code(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else str(error.get("code"))


def _problem(asked: Asked, heard: Heard, said: _Said, streamed: bool) -> str:
    if heard.headers.get("x-request-id") != asked.id:
        return f"it bears the id {heard.headers.get('x-request-id')}"
    if said.error is not None:
        return _error_problem(asked, said.error) or _prefix_problem(asked, said, streamed)
    if asked.expects:
        return ""  # answered although it should not be: the judge says so
    if asked.kind == "embedding":
        return "" if said.usage else "no embedding"
    if streamed and not said.done:
        return "a clean end without an ending"
    if said.finish is None:
        return "no finish_reason"
    if not said.usage:
        return "no usage: it was not the engine that ended it"
    if asked.text is not None and said.text != asked.text:
        return f"{len(said.text)} characters of {len(asked.text)}, or other ones"
    return ""


def _error_problem(asked: Asked, error: Mapping[str, Any]) -> str:
    message, code = error.get("message"), error.get("code")
    if not isinstance(message, str) or not isinstance(code, str) or not isinstance(error.get("type"), str):
        return "an error of another shape"
    if code not in codes():
        return f"the code {code!r} is in no catalogue"
    return "the error repeats the prompt" if asked.nonce and asked.nonce in message else ""


def _prefix_problem(asked: Asked, said: _Said, streamed: bool) -> str:
    """Before an error frame stands what the engine said, and nothing else."""
    if streamed and said.done:
        return "an error frame and [DONE]"
    if streamed and asked.text is not None and not asked.text.startswith(said.text):
        return "the text before the error frame is not the engine's"
    return ""


def _read_object(body: bytes) -> _Said:
    try:
        value = json.loads(body)
    except ValueError:
        return _Said(problem="the body is not JSON")
    if not isinstance(value, dict):
        return _Said(problem="the body is no object")
    said = _Said(error=_error(value))
    _take(said, value)
    return said


def _error(value: Mapping[str, Any]) -> dict[str, Any] | None:
    error = value.get("error")
    return error if isinstance(error, dict) else None


def _take(said: _Said, value: Mapping[str, Any]) -> None:
    if isinstance(name := value.get("model"), str):
        said.names.add(name)
    for choice in value.get("choices") or ():
        message = choice.get("delta") or choice.get("message") or {}
        said.text += message.get("content") or choice.get("text") or ""
        said.finish = choice.get("finish_reason") or said.finish
    said.usage = said.usage or bool(value.get("usage"))


def _read_stream(body: bytes) -> _Said:
    said = _Said()
    for event in body.decode(errors="replace").split("\n\n"):
        for line in event.splitlines():
            if line.startswith("data: "):
                _take_event(said, line.removeprefix("data: "))
    return said


def _take_event(said: _Said, data: str) -> None:
    if said.done or said.error is not None:
        said.problem = "something follows the end of the stream"
    elif data == "[DONE]":
        said.done = True
    else:
        try:
            value = json.loads(data)
        except ValueError:
            said.problem = "an event is not JSON"
            return
        said.error = _error(value)
        _take(said, value)

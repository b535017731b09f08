"""What a paired machine or a provider says when it refuses, as our errors. Pure; no prompt text passes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from roost.errors import (
    BadRequest,
    CloudRefused,
    InternalError,
    NodeUnreachable,
    NotOffered,
    RateLimitExceeded,
    RoostError,
    UpstreamDisconnected,
)
from roost.gateway.far import Far
from roost.gateway.upstream_errors import safe, translate

#: Nobody waits for longer because another machine said so.
_LONGEST_RETRY_S = 3600.0
#: What an error inside of a stream would have been as a status.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
}
#: Providers answer so when they are overloaded.
_OVERLOADED = 529


def refused_afar(
    far: Far,
    model_id: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    prompts: Iterable[str],
    param: str,
) -> RoostError:
    """The answer of somewhere else that is not 200."""
    texts = list(prompts)
    retry_after_s = _seconds(headers.get("Retry-After"))
    if far.is_cloud:
        return _of_cloud(far, model_id, status, retry_after_s, body, texts, param)
    return _of_peer(far, model_id, status, retry_after_s, body, texts, param)


def frame_afar(far: Far, model_id: str, frame: Mapping[str, Any], prompts: Iterable[str], param: str) -> RoostError:
    """An error object inside of a stream from somewhere else. Its status went out before: its code says what it is."""
    texts, inner = list(prompts), frame.get("error")
    error: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    code, kind = error.get("code"), str(error.get("type"))
    if not far.is_cloud:
        own = next((one for (_, word), one in _BY_CODE.items() if word == code), UpstreamDisconnected)
        return own(f"{far.name}{safe(str(error.get('message') or ''), texts)}")
    number = code if isinstance(code, int) and 400 <= code < 600 else None
    status = number or _STATUS_OF_TYPE.get(kind) or _STATUS_OF_TYPE.get(str(code), 500)
    return _of_cloud(far, model_id, status, None, json.dumps(frame).encode(), texts, param)


def _of_peer(
    far: Far, model_id: str, status: int, retry_after_s: float | None, body: bytes, prompts: list[str], param: str
) -> RoostError:
    """A paired roost answers with an error of ours: it is passed on under its own code."""
    error = _error(body)
    kind = _BY_CODE.get((status, str(error.get("code"))))
    if kind is None:
        return translate(status, body, model_id, prompts, param)
    if status in (401, 403):
        return NodeUnreachable(
            f"{far.name} refuses this machine{safe(str(error.get('message') or ''), prompts)}; "
            'see "roost node list" on both',
            should_retry=False,
        )
    message = safe(str(error.get("message") or ""), prompts)
    own = error.get("param")
    return kind(f"{far.name}{message}", param=own if isinstance(own, str) else None, retry_after_s=retry_after_s)


def _of_cloud(
    far: Far, model_id: str, status: int, retry_after_s: float | None, body: bytes, prompts: list[str], param: str
) -> RoostError:
    said = safe(str(_error(body).get("message") or ""), prompts)
    if status in (401, 403):
        return CloudRefused(
            f"{far.name} refused its key (status {status}){said}; see api_key in [clouds]", should_retry=False
        )
    if status == 404:
        return NotOffered(f"{far.name} has no {model_id}{said}", param="model")
    if status == 413:
        return NotOffered(f"{far.name} takes no request of this size{said}")
    if status == 402:
        return CloudRefused(f"{far.name} wants to be paid first (status 402){said}", should_retry=False)
    if status == 429:
        return RateLimitExceeded(f"{far.name} takes no more requests now{said}", retry_after_s=retry_after_s or 1)
    if status >= 500 or status == _OVERLOADED:
        return CloudRefused(f"{far.name} failed (status {status}){said}", retry_after_s=retry_after_s or 1)
    translated = translate(status, body, model_id, prompts, param)
    if isinstance(translated, BadRequest) and type(translated) is not BadRequest:
        return translated
    return BadRequest(f"{far.name} refused the request (status {status}){said}")


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    inner = value.get("error") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _seconds(text: str | None) -> float | None:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 6:
        return None
    return min(float(text), _LONGEST_RETRY_S)


def _kinds(kind: type[RoostError]) -> Iterator[type[RoostError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _kinds(sub)


#: Our own errors by what a client sees of them; of two alike, the general one.
_BY_CODE: dict[tuple[int, str], type[RoostError]] = {}
for _kind in _kinds(RoostError):
    if _kind is not InternalError:
        _BY_CODE.setdefault((_kind.status, _kind.code), _kind)

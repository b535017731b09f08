"""Every error that roost answers with, as one tree.

RoostError
├── BadRequest 400            InvalidJson, InvalidUtf8, MissingParameter, InvalidType, ContextLengthExceeded, Refused,
│                             NotOffered
├── InvalidApiKey 401
├── Forbidden 403             OriginNotAllowed, HostNotAllowed, TlsRequired, SecretInPrompt, NotPaired, InviteRefused
├── NotFound 404              ModelNotFound
├── MethodNotAllowed 405
├── RequestTimeout 408 · Conflict 409 · RequestTooLarge 413 · UnsupportedMediaType 415 · HeadersTooLarge 431
├── TooManyRequests 429       RateLimitExceeded, ConcurrencyLimit
├── ServerError 500           InternalError
├── BadGateway 502            UpstreamCrashed, UpstreamDisconnected, UnusableAnswer
├── Unavailable 503           ModelLoading, ModelLoadingTimeout, ModelNotResident, ModelUnavailable, WorkerFailed,
│                             WorkerOutOfMemory, NodeUnreachable, CloudRefused, InsufficientMemory, ShuttingDown,
│                             StorageFull, TooManyConnections
├── GatewayTimeout 504        UpstreamStalled
├── LoopDetected 508
└── BadConfiguration 503      with its problems; the CLI exits with 78

A message says what could not be done, why with its numbers, and the next step. It never holds prompt text.
"""

from __future__ import annotations

from typing import ClassVar


class RoostError(Exception):
    """Something roost could not do; carries its HTTP face and what the caller may do next.

    `retry_after_s` becomes the `Retry-After` header (rounded up, jitter is added at the border);
    `should_retry` becomes `x-should-retry` (official SDKs obey it) and None leaves the header away.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    should_retry_default: ClassVar[bool | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = self.should_retry_default if should_retry is None else should_retry

    def openai_body(self) -> dict[str, dict[str, str | None]]:
        """The OpenAI error object: `{"error": {message, type, param, code}}`, code always a string."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(RoostError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidJson(BadRequest):
    code = "invalid_json"


class InvalidUtf8(BadRequest):
    code = "invalid_utf8"


class MissingParameter(BadRequest):
    code = "missing_required_parameter"


class InvalidType(BadRequest):
    code = "invalid_type"


class ContextLengthExceeded(BadRequest):
    code = "context_length_exceeded"


class Refused(BadRequest):
    """The request is well formed but this model or engine cannot honour it; the message names which and why."""

    code = "unsupported_parameter"


class NotOffered(Refused):
    """The place that was asked does not offer this; another one may."""


class InvalidApiKey(RoostError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(RoostError):
    status = 403
    type = "permission_error"
    code = "scope_denied"


class OriginNotAllowed(Forbidden):
    code = "origin_not_allowed"


class HostNotAllowed(Forbidden):
    code = "host_not_allowed"


class TlsRequired(Forbidden):
    """Another machine spoke in the clear, past the proxy that is there for TLS."""

    code = "tls_required"


class SecretInPrompt(Forbidden):
    """What looks like a secret would have gone to a provider; it went nowhere."""

    code = "secret_in_prompt"


class NotPaired(Forbidden):
    """The machine that asks is not paired with this one, or not any more."""

    code = "node_not_paired"


class InviteRefused(Forbidden):
    """The code is wrong, expired or used, or the machine that answers is not the one that made it."""

    code = "invite_refused"


class NotFound(RoostError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(RoostError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(RoostError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class Conflict(RoostError):
    """Only for static assets of an unloaded model under /upstream: SDKs retry 409, so nothing permanent uses it."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class RequestTooLarge(RoostError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(RoostError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class HeadersTooLarge(RoostError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class TooManyRequests(RoostError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class RateLimitExceeded(TooManyRequests):
    code = "rate_limit_exceeded"


class ConcurrencyLimit(TooManyRequests):
    code = "concurrency_limit"


class InternalError(RoostError):
    pass


class BadGateway(RoostError):
    status = 502
    code = "upstream_crashed"


class UpstreamCrashed(BadGateway):
    code = "upstream_crashed"


class UpstreamDisconnected(BadGateway):
    code = "upstream_disconnected"


class UnusableAnswer(BadGateway):
    """The model answered, but not what the request demanded: no call of a tool, or text that breaks the schema."""

    code = "unusable_answer"
    # The same model would mostly do the same again.
    should_retry_default = False


class Unavailable(RoostError):
    status = 503
    code = "worker_failed"


class ModelLoading(Unavailable):
    code = "model_loading"


class ModelLoadingTimeout(Unavailable):
    code = "model_loading_timeout"


class ModelNotResident(Unavailable):
    code = "model_not_resident"


class ModelUnavailable(Unavailable):
    """Known, but its files cannot be reached now (volume not mounted, file changed under its digest)."""

    code = "model_unavailable"
    should_retry_default = False


class WorkerFailed(Unavailable):
    code = "worker_failed"


class WorkerOutOfMemory(Unavailable):
    code = "worker_out_of_memory"
    should_retry_default = False


class NodeUnreachable(Unavailable):
    """Nobody answers at the address of a server that roost does not run itself; it is tried again by itself."""

    code = "node_unreachable"


class CloudRefused(Unavailable):
    """A provider is not asked: no key, no connection, closed after failures, its budget spent, or a private request."""

    code = "cloud_refused"


class InsufficientMemory(Unavailable):
    code = "insufficient_memory"


class ShuttingDown(Unavailable):
    code = "shutting_down"


class StorageFull(Unavailable):
    code = "storage_full"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class GatewayTimeout(RoostError):
    status = 504
    code = "upstream_stalled"


class UpstreamStalled(GatewayTimeout):
    code = "upstream_stalled"


class LoopDetected(RoostError):
    """A request has come through so many machines, or comes back to the one where it began."""

    status = 508
    code = "loop_detected"
    should_retry_default = False


class BadConfiguration(RoostError):
    """A settings or registry file, a flag or a knob cannot be used; `problems` lists each one with its place."""

    status = 503
    code = "bad_configuration"
    # Another try finds the same file.
    should_retry_default = False

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[str, ...] = (),
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, should_retry=should_retry)
        self.problems = problems

    def openai_body(self) -> dict[str, dict[str, str | None]]:
        body = super().openai_body()
        untold = [problem for problem in self.problems if problem not in self.message]
        body["error"]["message"] = f"{self.message}: {'; '.join(untold)}" if untold else self.message
        return body

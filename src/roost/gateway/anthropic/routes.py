"""The rows of Anthropic's protocol in the route table."""

from __future__ import annotations

from functools import partial

from roost.gateway.anthropic import inference
from roost.gateway.anthropic.answers import error_bytes
from roost.gateway.auth import Scope
from roost.gateway.call import Body, Route

_Row = partial(Route, error_body=error_bytes, id_header="request-id")

ANTHROPIC_ROUTES: tuple[Route, ...] = (
    _Row("POST", "/v1/messages", Scope.USE, inference.messages, Body.JSON, "Anthropic-shaped messages."),
    _Row(
        "POST",
        "/v1/messages/count_tokens",
        Scope.USE,
        inference.count_tokens,
        Body.JSON,
        "Tokens of a prompt, Anthropic's shape.",
    ),
)

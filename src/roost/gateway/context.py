"""Does the prompt fit the window: what can be said before a load, and exactly afterwards. Pure but for one question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roost.catalog.spec import ModelSpec
from roost.errors import ContextLengthExceeded
from roost.gateway.fields import least_prompt_bytes
from roost.workers.types import ReadyWorker

#: Tokens that a chat template adds by itself, at the most: preamble, tool instructions, and marks of each message.
_TEMPLATE_TOKENS = 1024
_MESSAGE_TOKENS = 32


def too_long(model_id: str, prompt_tokens: int | str, context_length: int, param: str) -> ContextLengthExceeded:
    """The one error for a prompt over the window, with both numbers."""
    shown = prompt_tokens if isinstance(prompt_tokens, str) else f"{prompt_tokens:,}"
    return ContextLengthExceeded(
        f"prompt of {shown} tokens exceeds {model_id}'s window of {context_length:,}; choose a role with a larger one",
        param=param,
    )


def check_lower_bound(
    surface: str, values: Mapping[str, Any], spec: ModelSpec, context_length: int | None, param: str
) -> None:
    """Before a load: raises ContextLengthExceeded only when no tokenization could fit."""
    longest = spec.longest_token_bytes
    if context_length is None or not longest:
        return
    least = -(-least_prompt_bytes(surface, values) // longest)
    if least > context_length:
        raise too_long(spec.id, f"at least {least:,}", context_length, param)


async def check_exactly(route: str, body: bytes, message_count: int, worker: ReadyWorker, param: str) -> None:
    """With a worker that counts: raises ContextLengthExceeded. Asks only when a bound does not prove that it fits."""
    context = worker.context_length
    if worker.traits.context_check != "count" or context is None:
        return
    # A token is at least one byte of the body, what the template adds aside.
    if len(body) + _TEMPLATE_TOKENS + _MESSAGE_TOKENS * message_count <= context:
        return
    count = await worker.count_prompt_tokens(route, body)
    if count is not None and count > context:
        raise too_long(worker.model_id, count, context, param)

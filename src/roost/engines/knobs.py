"""Rules about knobs that hold for every engine; pure."""

from __future__ import annotations

from collections.abc import Iterable

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs

#: KV is reserved for the whole window: a model trained for 128k tokens would take the memory of several models.
DEFAULT_CONTEXT_TOKENS = 32768


def context_tokens(spec: ModelSpec, knobs: Knobs) -> int | None:
    """Tokens that one request may use: the knob, else the trained window but at most 32768; None: not known."""
    if knobs.context is not None:
        return knobs.context
    return None if spec.context_length is None else min(spec.context_length, DEFAULT_CONTEXT_TOKENS)


def shared_problems(engine: str, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
    """What contradicts itself whatever the engine is, one sentence each with the mend."""
    found: list[str] = []
    if knobs.prefix_sharing and not knobs.paged_cache:
        found.append(f"{engine}: prefix_sharing needs paged_cache; set paged_cache = true or remove prefix_sharing")
    if knobs.speculative_decoding and not knobs.draft_model:
        found.append(f"{engine}: speculative_decoding needs a draft; set draft_model or turn it off")
    if knobs.draft_model and not knobs.speculative_decoding:
        found.append(f"{engine}: draft_model does nothing; set speculative_decoding = true or remove it")
    trained = spec.context_length if spec else None
    if trained is not None and knobs.context is not None and knobs.context > trained:
        found.append(
            f"{engine}: context {knobs.context} is more than the {trained} tokens that the model was trained for; "
            f"set it to {trained} or less"
        )
    return found


def unsupported(engine: str, knobs: Knobs, reasons: Iterable[tuple[str, str]]) -> list[str]:
    """`reasons`: (knob, why and the mend). A knob that is unset or off is never a problem."""
    return [f"{engine}: {name}: {reason}" for name, reason in reasons if getattr(knobs, name)]

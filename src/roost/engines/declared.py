"""What `command` and `external` share: models that the settings declare, because roost cannot read their weights."""

from __future__ import annotations

from roost.config.settings import Knobs, ModelSettings
from roost.engines.types import EngineTraits

#: Declared capability -> the route that it means. `vision`, `tools` and `thinking` are no routes.
_ROUTES = {"chat": "chat", "completion": "completions", "embedding": "embeddings", "rerank": "rerank"}

#: Tuning that only an engine of roost's own configuring can honour. Everything else among the knobs (caps, penalties,
#: deadlines, idle time, concurrency) is roost's own work and holds for every server.
TUNING = (
    "standby",
    "kv_cache_type",
    "paged_cache",
    "prefix_sharing",
    "gpu_memory_share",
    "gpu_layers",
    "threads",
    "prefill_batch",
    "completion_batch",
    "chunked_prefill",
    "chat_template_args",
    "tool_parser",
    "reasoning_parser",
    "speculative_decoding",
    "draft_model",
)


def surfaces_of(model: ModelSettings) -> frozenset[str]:
    return frozenset(_ROUTES[name] for name in model.capabilities if name in _ROUTES)


def traits_of(model: ModelSettings) -> EngineTraits:
    """Nothing is known of such a server, so its bodies pass as they came and no window is checked by counting."""
    return EngineTraits(
        cancels_non_stream=True,
        context_check="none",
        surfaces=surfaces_of(model),
        vision="vision" in model.capabilities,
    )


def tuning_problems(engine: str, knobs: Knobs) -> list[str]:
    """The tuning knobs that were set for a server that roost does not configure."""
    named = [name for name in TUNING if getattr(knobs, name) not in (None, "auto", False, {})]
    return [
        f"{engine}: {name}: roost does not configure this server; remove it here or set it under "
        "[engines.NAME] for the engine that it is meant for"
        for name in named
    ]

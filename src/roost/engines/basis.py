"""What decides a model's answers here, as one comparable value: the ground that a verdict about it stands on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.catalog.spec import FileRole, ModelSpec
from roost.config.settings import Knobs, ModelSettings, Settings
from roost.engines.table import choose_engine
from roost.engines.types import Available, Engine

#: Knobs that change when and how fast an answer comes, never what it says. `tools` is what a verdict decides.
_NO_MATTER = frozenset(
    {
        *("name", "standby", "resume", "idle_ttl_s", "stall_s", "load_deadline_s", "process_priority", "tools"),
        *("engine_log_level", "threads", "prefix_cache_mb", "checkpoints", "gpu_memory_share", "gpu_layers"),
        *("prefix_cache", "max_sequences", "completion_batch"),
    }
)
#: Of a model's own settings.
_MATTERS = ("command", "external", "filters", "context_length", "capabilities")


@dataclass(frozen=True)
class Ground:
    """Digests are hex; equal grounds answer alike."""

    weights: str
    texts: str
    engine: str
    engine_version: str | None
    quantization: str | None
    settings: str


def ground_of(spec: ModelSpec, settings: Settings, engines: Mapping[str, Engine], *, apple: bool) -> Ground:
    """Of a model as it would be served now. Raises RoostError when no engine would serve it."""
    model = settings.models.get(spec.id, ModelSettings())
    engine = choose_engine(spec, settings.knobs(spec.id), engines, apple, model)
    state = engine.availability()
    return Ground(
        weights=spec.fingerprint,
        texts=_texts(spec),
        engine=engine.name,
        engine_version=state.version if isinstance(state, Available) else None,
        quantization=spec.quantization,
        settings=_settings(settings.knobs(spec.id, engine.name), model),
    )


def _texts(spec: ModelSpec) -> str:
    """A GGUF has its tokenizer in the header, which the fingerprint covers."""
    roles = (FileRole.CONFIG, FileRole.TOKENIZER, FileRole.TEMPLATE)
    files = sorted(file.identity_sha256 for file in spec.files if file.role in roles)
    return _digest([spec.chat_template_sha256, files])


def _settings(knobs: Knobs, model: ModelSettings) -> str:
    return _digest([knobs.model_dump(mode="json", exclude=set(_NO_MATTER)), model.model_dump(include=set(_MATTERS))])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

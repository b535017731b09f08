"""Models that only the settings know: `command` and `external` ones."""

from __future__ import annotations

import shlex
from typing import get_args
from urllib.parse import urlsplit

from roost.catalog.spec import Capability, ModelFormat, ModelSpec, Source, SourceKind
from roost.config.settings import ModelSettings, Settings
from roost.errors import BadConfiguration

_CAPABILITIES = frozenset(get_args(Capability))


def declared_models(settings: Settings) -> dict[str, ModelSpec]:
    """One spec for each `[models."ID"]` with a command or an external server. Raises BadConfiguration."""
    return {
        model_id: _spec(model_id, model)
        for model_id, model in settings.models.items()
        if model.command is not None or model.external is not None
    }


def _spec(model_id: str, model: ModelSettings) -> ModelSpec:
    unknown = sorted(set(model.capabilities) - _CAPABILITIES)
    if unknown:
        problem = (
            f'[models."{model_id}"] capabilities: {", ".join(unknown)} unknown; use {", ".join(sorted(_CAPABILITIES))}'
        )
        raise BadConfiguration(f"cannot use the settings: {problem}", problems=(problem,))
    return ModelSpec.model_validate(
        {
            "id": model_id,
            "format": ModelFormat.DECLARED,
            "path": None,
            "source": Source(kind=SourceKind.DECLARED, location=_location(model)),
            "context_length": model.context_length,
            "capabilities": frozenset(model.capabilities),
        }
    )


def _location(model: ModelSettings) -> str:
    """Where it comes from, without what may be secret: an address without user and query, a program without flags."""
    if model.external is not None:
        parts = urlsplit(model.external.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    words = model.command.cmd.split() if model.command else []
    return shlex.quote(words[0]) if words else "command"

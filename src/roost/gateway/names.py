"""The name of a model in a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roost.config.settings import Settings
from roost.errors import InvalidType, MissingParameter


def requested_name(values: Mapping[str, Any], settings: Settings) -> str:
    """The name in the body. Raises InvalidType, MissingParameter."""
    name = values.get("model")
    if name is not None and not isinstance(name, str):
        raise InvalidType("`model` must be a string; name a role or an id", param="model")
    if name:
        return name
    if settings.gateway.default_when_absent:
        return "default"
    raise MissingParameter(
        "`model` is missing; name a role or an id, or set gateway.default_when_absent", param="model"
    )

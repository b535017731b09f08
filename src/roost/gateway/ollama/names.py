"""Names as Ollama spells them: a name without a tag means `:latest`, and both spellings are one name."""

from __future__ import annotations

from roost.errors import InvalidType
from roost.gateway.state import Gateway

_TAG = ":latest"


def spelt_here(gateway: Gateway, name: object) -> object:
    """The spelling that exists here; a name that exists in neither stays as it is. Raises InvalidType."""
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise InvalidType("`model` must be a string; name a role or an id", param="model")
    if gateway.knows(name):
        return name
    other = name.removesuffix(_TAG) if name.endswith(_TAG) else f"{name}{_TAG}"
    return other if gateway.knows(other) else name

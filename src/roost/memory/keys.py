"""Numbers of a model's header, which may be lies: each is bounded before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from roost.catalog.folder_config import TEXT_CONFIGS

LAYERS_LIMIT = 10_000
#: Heads, dimensions and windows stay far below.
NUMBER_LIMIT = 2**31


class HeaderKeys:
    """Typed access to one model's metadata. A value of the wrong type or out of bounds counts as absent."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    @classmethod
    def of_gguf(cls, metadata: Mapping[str, Any], architecture: str) -> HeaderKeys:
        """Keys below `<architecture>.`."""
        return cls(metadata, f"{architecture}.")

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> HeaderKeys:
        """config.json, the text model's own part over the rest."""
        nested: Mapping[str, Any] = next((config[key] for key in TEXT_CONFIGS if isinstance(config.get(key), dict)), {})
        return cls({**config, **nested})

    def has(self, key: str) -> bool:
        return self._values.get(self._prefix + key) is not None

    def text(self, key: str) -> str | None:
        value = self._values.get(self._prefix + key)
        return value if isinstance(value, str) else None

    def flag(self, key: str) -> bool:
        return self._values.get(self._prefix + key) is True

    def number(self, *keys: str) -> int | None:
        """The first of these keys that holds a natural number; 0 counts."""
        found = (self._values.get(self._prefix + key) for key in keys)
        return next((value for value in found if _is_natural(value)), None)

    def positive(self, *keys: str) -> int | None:
        """As `number`, and 0 counts as absent."""
        return self.number(*(key for key in keys if self.number(key)))

    def each(self, key: str, layers: int) -> tuple[int, ...] | None:
        """One natural number a layer: a scalar holds for all, an array must be long enough."""
        value = self._values.get(self._prefix + key)
        if _is_natural(value):
            return (value,) * layers
        if not isinstance(value, list) or len(value) < layers or not all(map(_is_natural, value)):
            return None
        return tuple(value[:layers])

    def flags(self, key: str, layers: int) -> tuple[bool, ...] | None:
        """One yes or no a layer, from an array of booleans or of 0 and 1."""
        value = self._values.get(self._prefix + key)
        if not isinstance(value, list) or len(value) < layers or any(item not in (0, 1) for item in value):
            return None
        return tuple(bool(item) for item in value[:layers])

    def words(self, *keys: str) -> tuple[str, ...] | None:
        """A list of texts, or the letters of one text."""
        for key in keys:
            value = self._values.get(self._prefix + key)
            if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                return tuple(value) if len(value) <= LAYERS_LIMIT else None
        return None

    def layers(self, *keys: str) -> int | None:
        """A count of layers that a model can have."""
        count = self.positive(*keys)
        return count if count is not None and count <= LAYERS_LIMIT else None


def _is_natural(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < NUMBER_LIMIT

"""What other rooms see of the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from roost.catalog.spec import ModelSpec, UnavailableModel


class CatalogView(Protocol):
    """Lookup by physical id; in memory and instant, so that the request path may call it."""

    def get(self, model_id: str) -> ModelSpec | UnavailableModel | None:
        """The model with exactly this id; None when nobody on this machine has it."""
        ...

    def all(self) -> Iterable[ModelSpec | UnavailableModel]:
        """Every known model, sorted by id."""
        ...


class KnownIds:
    """The catalog as a container of ids."""

    def __init__(self, catalog: CatalogView) -> None:
        self._catalog = catalog

    def __contains__(self, model_id: object) -> bool:
        return isinstance(model_id, str) and self._catalog.get(model_id) is not None

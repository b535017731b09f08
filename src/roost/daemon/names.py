"""The registry as it serves here: the file's, with the default of this run laid over it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from roost.registry.types import Registry, RegistryState


def node_name() -> str:
    """This machine's short name, as `x-roost-node` and `id@node` use it."""
    return socket.gethostname().split(".", 1)[0] or "localhost"


class Names:
    """Computed once a change, read at each request."""

    def __init__(self, read: Callable[[], RegistryState]) -> None:
        self._read = read
        self._forced: str | None = None
        self._fallback: str | None = None
        self._source: RegistryState | None = None
        self._state = RegistryState(Registry())

    def force_default(self, model_id: str) -> None:
        """`roost up --model`: for this run, whatever the file says."""
        self._forced, self._source = model_id, None

    def fall_back(self, model_id: str) -> None:
        """The embedded default: only while the file names no default."""
        self._fallback, self._source = model_id, None

    def state(self) -> RegistryState:
        source = self._read()
        if source is not self._source:
            self._source = source
            self._state = replace(source, registry=self._laid_over(source.registry))
        return self._state

    def _laid_over(self, registry: Registry) -> Registry:
        default = self._forced or registry.roles.get("default") or self._fallback
        if default is None or default == registry.roles.get("default"):
            return registry
        return replace(registry, roles=MappingProxyType({**registry.roles, "default": default}))

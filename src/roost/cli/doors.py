"""The ways from the CLI into the other rooms.

They are imported on use: aiohttp alone costs a quarter of a second, which `roost --help` and shell completion
must not pay.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from roost.config.paths import Paths

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.catalog.types import CatalogView
    from roost.client import DaemonClient
    from roost.config.load import LoadedSettings
    from roost.config.settings import Settings
    from roost.engines.types import Engine
    from roost.registry.types import RegistryState
    from roost.store.keys import KeyFile

T = TypeVar("T")

PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Here:
    """This machine as one command sees it."""

    paths: Paths
    environ: Mapping[str, str]


def here() -> Here:
    return Here(Paths.from_environment(os.environ), os.environ)


def ask_daemon(call: Callable[[DaemonClient], Awaitable[T]], place: Here | None = None) -> T:
    """Run one conversation with the daemon. Raises NoDaemon and RoostClientError."""
    from roost.client import DaemonClient

    paths = (place or here()).paths

    async def converse() -> T:
        async with DaemonClient(paths.control_socket) as client:
            return await call(client)

    return asyncio.run(converse())


def load_settings(place: Here) -> LoadedSettings:
    """The settings in force, each with its origin. Raises BadConfiguration."""
    from roost.config.load import load

    return load(place.paths, place.environ)


def open_catalog(place: Here, settings: Settings) -> Catalog:
    from roost.catalog.catalog import Catalog

    return Catalog.open(place.paths, settings, place.environ)


def build_engines(place: Here, catalog: CatalogView | None = None) -> dict[str, Engine]:
    from roost.engines.table import build_engines

    return build_engines(place.paths, place.environ, catalog)


def read_registry(place: Here) -> RegistryState:
    """What the file says now; a broken one counts as empty and comes with its problem."""
    from roost.registry.file import read
    from roost.registry.types import Registry, RegistryProblem, RegistryState

    found = read(place.paths.registry)
    return RegistryState(Registry(), found) if isinstance(found, RegistryProblem) else RegistryState(found)


def key_file(place: Here) -> KeyFile:
    from roost.store.keys import KeyFile

    return KeyFile(place.paths.keys)


def daemon_answers(paths: Paths) -> bool:
    """Somebody accepts on the control socket: cheap enough for commands that work without a daemon."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(paths.control_socket))
        except OSError:
            return False
        return True

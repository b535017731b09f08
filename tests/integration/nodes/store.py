"""A paired machine with a catalog of real files, and a cable to it that can be cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from roost.api import TravelEvent, TravelWish
from roost.catalog.catalog import Catalog
from roost.catalog.inspector import inspect
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.daemon.weights import TravellingModels
from roost.nodes.room import Room
from tests.integration.nodes.house import House, house

RETRY_S = 0.02


@dataclass
class Store:
    house: House
    catalog: Catalog
    travel: TravellingModels
    models: Path

    async def pull(self, model: str, node: str | None = None, model_id: str | None = None) -> TravelEvent:
        """Its last event."""
        events = [event async for event in self.travel.pull(TravelWish(model=model, node=node, id=model_id))]
        assert events[-1].step == "done"
        return events[-1]

    async def push(self, model: str, node: str, model_id: str | None = None) -> TravelEvent:
        events = [event async for event in self.travel.push(TravelWish(model=model, node=node, id=model_id))]
        assert events[-1].step == "done"
        return events[-1]

    def parts(self) -> list[Path]:
        """Files that have not arrived whole."""
        return [path for path in (self.models / ".arriving").rglob("*") if path.is_file()]


@asynccontextmanager
async def store(
    folder: Path, name: str, *, door: bool = True, accepts: tuple[str, ...] = ("laptop",)
) -> AsyncIterator[Store]:
    root = folder / f"{name}-files"
    environ = {"HOME": str(root), "ROOST_HOME": str(root)}
    paths = Paths.from_environment(environ)
    paths.models.mkdir(parents=True)
    paths.state.mkdir()
    catalog = Catalog.open(paths, Settings(), environ, is_mount=os.path.ismount, inspect=inspect)
    made: list[TravellingModels] = []

    def weights(room: Room) -> TravellingModels:
        made.append(TravellingModels(catalog, paths.models, room, lambda: accepts, retry_s=RETRY_S))
        return made[0]

    async with house(folder, name, door=door, weights=weights) as opened:
        yield Store(opened, catalog, made[0], paths.models)


@dataclass
class Cable:
    """Passes on what goes through, until it is cut."""

    target: Callable[[], int]
    port: int = 0
    #: Bytes towards the one that asks, after which every connection ends; None: none does.
    cut_after: int | None = None
    #: Nobody gets through.
    dead: bool = False
    came_bytes: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dead:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target())
        ends = {writer, back}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, counted=False))
                group.create_task(self._pass(there, writer, counted=True))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if counted:
                    self.came_bytes += len(data)
                    if self.cut_after is not None and self.came_bytes > self.cut_after:
                        self.cut_after = None
                        self.cut()
                        return
                sink.write(data)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def cable(to: House) -> AsyncIterator[Cable]:
    """From now on `to` is reached over it, and by no other way."""
    made = Cable(lambda: to.port)
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    to.room.addresses = (f"127.0.0.1:{made.port}",)
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await server.wait_closed()

"""A machine with its room, its desk and its door on a real socket, in front of a stand-in engine."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from aiohttp import web

from roost.config.far import NodesSettings
from roost.config.settings import Settings
from roost.daemon.doors import Site
from roost.gateway.app import build_app
from roost.gateway.deps import GatewayDeps
from roost.gateway.protocol import GatewayRunner, runner_options
from roost.nodes.desk import Desk
from roost.nodes.identity import LIFETIME_S, HomeAuthority
from roost.nodes.room import Room
from roost.nodes.shapes import ModelSaid, PeerStatus
from roost.nodes.tls import DOMAIN, DoorTls, node_host, server_context
from roost.nodes.travel import NoWeights, Weights
from roost.nodes.types import Link, NodeView
from roost.registry.types import Registry, RegistryState
from roost.testing.engine import EngineOptions, serve
from roost.testing.pool import FakePool, FakeWorker
from roost.testing.wait import until
from tests.integration.gateway.front import FakeKeys, MemoryActivity, State, gateway_deps, spec

MODEL = "org/model-a"
QUICK = NodesSettings(look_every_s=0.05, connect_timeout_s=1.0)


@dataclass
class Clock:
    """Unix time that a test moves."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class House:
    """`port` is the door's; 0: there is none."""

    room: Room
    desk: Desk
    deps: GatewayDeps
    folder: Path
    clock: Clock
    keys: FakeKeys
    activity: MemoryActivity
    settings: NodesSettings
    port: int = 0
    draining: bool = False
    #: Of each request at the door that was answered: its path and its Range.
    answered: list[tuple[str, str | None]] = field(default_factory=list)
    _door: list[web.AppRunner] = field(default_factory=list)

    async def open_door(self, port: int = 0) -> None:
        identity = await self.room.identity()
        home = HomeAuthority(self.folder, now=self.clock)
        home.serve(frozenset({"127.0.0.1", "localhost"}))
        tls = DoorTls(
            identity,
            lambda: tuple(peer.certificate for peer in self.room.book.known()),
            lambda: server_context(home.leaf_file),
        )
        app = build_app(self.deps, door=True)
        app.on_response_prepare.append(self._note)
        runner = GatewayRunner(app, shutdown_timeout=0.1, **runner_options(GATEWAY))
        await runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        await Site(runner, listener, ssl_context=tls.context).start()
        self.port = listener.getsockname()[1]
        self.room.addresses = (f"127.0.0.1:{self.port}",)
        self._door.append(runner)

    async def _note(self, request: web.Request, _: web.StreamResponse) -> None:
        self.answered.append((request.path, request.headers.get("Range")))

    async def close_door(self) -> None:
        while self._door:
            await self._door.pop().cleanup()

    def hosts(self) -> frozenset[str]:
        assert self.room.node_id is not None
        return frozenset({f"join.{DOMAIN}", node_host(self.room.node_id), f"localhost:{self.port}"})

    def view(self, name: str) -> NodeView:
        return next(view for view in self.room.views() if view.name == name)

    async def sees(self, name: str, link: Link, timeout_s: float = 10.0) -> NodeView:
        """The view once the link is this."""
        await until(lambda: self.view(name).link is link, timeout_s=timeout_s, what=f"{name} is {link}")
        return self.view(name)


GATEWAY = Settings().gateway


@asynccontextmanager
async def house(
    folder: Path,
    name: str,
    *,
    door: bool = True,
    settings: NodesSettings = QUICK,
    lifetime_s: float = LIFETIME_S,
    options: EngineOptions | None = None,
    environ: dict[str, str] | None = None,
    weights: Callable[[Room], Weights] = lambda room: NoWeights(),
) -> AsyncIterator[House]:
    """Runs its room until the end."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(serve(options or EngineOptions()))
        pool = await stack.enter_async_context(FakePool(FakeWorker(spec(MODEL), engine.url)))
        clock, keys, activity = Clock(), FakeKeys(), MemoryActivity()
        state = State(Settings(nodes=settings), RegistryState(Registry(roles={"default": MODEL})))
        room = Room(folder / name, lambda: made.settings, name, environ or {}, now=clock, lifetime_s=lifetime_s)
        desk = Desk(room, lambda: status_of(made), now=clock)
        deps = replace(
            gateway_deps(pool, (spec(MODEL),), state, activity, keys),
            node=name,
            nodes=room,
            pairing=desk,
            door_hosts=lambda: made.hosts(),
            weights=weights(room),
        )
        made = House(room, desk, deps, folder / name, clock, keys, activity, settings)
        stack.push_async_callback(made.close_door)
        if door:
            await made.open_door()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(room.run())
            yield made
            running.cancel()


async def status_of(made: House) -> PeerStatus:
    model = ModelSaid(
        id=MODEL, fingerprint="f" * 64, state="resident", context_length=8192, capabilities=frozenset({"chat"})
    )
    return PeerStatus(
        name=made.room.name,
        version="1.2.3",
        draining=made.draining,
        addresses=made.room.addresses,
        models=(model,),
        roles={"default": MODEL},
        budget_bytes=10,
        free_bytes=4,
    )


async def paired(server: House, client: House) -> None:
    """Pairs them, and waits until the client has looked at the server."""
    await client.desk.join((await server.desk.invite()).code)
    await client.sees(server.room.name, Link.UP)


@asynccontextmanager
async def plain_session(
    server: House, adapt: Callable[[aiohttp.TCPConnector], None] | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client on the LAN that trusts the server's authority and checks names."""
    import ssl

    context = ssl.create_default_context(cafile=server.folder / "ca.pem")
    base = f"https://localhost:{server.port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), base_url=base) as session:
        yield session

"""The nodes room in this daemon: the door for others, the addresses and names of this machine, and what runs for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from roost.config.settings import Settings
from roost.daemon.listen import CannotListen, LiveCertificate, bind
from roost.errors import BadConfiguration, RoostError
from roost.host.addresses import own_addresses
from roost.host.types import Host
from roost.nodes.desk import Desk
from roost.nodes.identity import HomeAuthority
from roost.nodes.room import Room
from roost.nodes.shapes import PeerStatus
from roost.nodes.tls import DOMAIN, DoorTls, node_host, server_context

log = structlog.get_logger(__name__)

#: How often this machine's addresses are looked up again, and its certificates for plain clients.
UPKEEP_S = 30.0
_ANYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class OpenDoor:
    listener: socket.socket
    tls: ssl.SSLContext


class Neighbours:
    """One a daemon. `status` says how this machine stands, to paired ones; `tell` is for whoever watches the start."""

    def __init__(
        self,
        folder: Path,
        settings: Callable[[], Settings],
        name: str,
        environ: Mapping[str, str],
        host: Host,
        status: Callable[[], Awaitable[PeerStatus]],
        tell: Callable[[str], None],
    ) -> None:
        self._settings, self._name, self._host, self._tell = settings, name, host, tell
        self.room = Room(folder, lambda: settings().nodes, name, environ)
        self.desk = Desk(self.room, status)
        self._home = HomeAuthority(folder)
        self._port: int | None = None
        self._hosts: frozenset[str] = frozenset()
        self._plain: tuple[int, ssl.SSLContext] | None = None
        self._problem: str | None = None

    def problem(self) -> str | None:
        """What keeps paired machines away, for status; None: nothing."""
        return self._problem or self.room.book.problem() or self.room.problem

    def hosts(self) -> frozenset[str]:
        """Host values by which the door is called."""
        return self._hosts

    # The door.

    async def open_door(self) -> OpenDoor | None:
        """None: the settings ask for none. Raises RoostError when they do, by an address, and it cannot be opened."""
        settings = self._settings()
        place = settings.nodes.door(settings.coexistence.profile)
        if place is None:
            return None
        try:
            return await self._opened(*place)
        except BadConfiguration as error:
            if settings.nodes.listen != "auto":
                raise
            self._problem = f"no paired machine can come in: {error.message}"
            log.warning("no door", problem=error.message)
            return None

    async def _opened(self, host: str, port: int) -> OpenDoor:
        identity = await self.room.identity()
        listener = self._bound(host, port)
        self._port = listener.getsockname()[1]
        await self._look_around(host)
        anchors = self.room.book
        tls = DoorTls(identity, lambda: tuple(peer.certificate for peer in anchors.known()), self._plain_context())
        log.info("door open", addresses=self.room.addresses)
        self._tell(f"other machines come in at {', '.join(self.room.addresses) or f'port {self._port}'}, over TLS")
        return OpenDoor(listener, tls.context)

    def _bound(self, host: str, port: int) -> socket.socket:
        try:
            return bind(self._settings().gateway.model_copy(update={"host": host, "port": port}), self._host)
        except CannotListen as error:
            raise CannotListen(f"{error.message} (this is nodes.listen, where paired machines come in)") from error

    def _plain_context(self) -> Callable[[], ssl.SSLContext]:
        """What plain clients are shown: a certificate of one's own if there is one, else one of roost's authority."""
        gateway = self._settings().gateway
        if gateway.tls_certificate and gateway.tls_key:
            return LiveCertificate(Path(gateway.tls_certificate), Path(gateway.tls_key)).current
        return self._home_context

    def _home_context(self) -> ssl.SSLContext:
        if self._plain is None or self._plain[0] != self._home.generation:
            self._plain = (self._home.generation, server_context(self._home.leaf_file))
        return self._plain[1]

    # What changes while it runs.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.room.run(), name="paired machines")
            if self._port is not None:
                group.create_task(self._upkeep(), name="addresses")

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_S)
            settings = self._settings()
            place = settings.nodes.door(settings.coexistence.profile)
            try:
                await self._look_around(place[0] if place else "0.0.0.0")
            except (RoostError, OSError) as error:
                self._problem = f"the certificate for plain clients could not be renewed: {error}"
            else:
                self._problem = None

    async def _look_around(self, host: str) -> None:
        """Where this machine is now, and a certificate for plain clients that names it so."""
        settings = self._settings().nodes
        found = (host,) if host not in _ANYWHERE else await asyncio.to_thread(own_addresses)
        self.room.addresses = tuple(_with_port(one, self._port) for one in settings.advertise or found)[:8]
        names = self._names(found)
        await asyncio.to_thread(self._home.serve, names)
        if self._home.left_out:
            log.warning("not in the certificate for plain clients", names=sorted(self._home.left_out))
        self._hosts = self._called(names)

    def _names(self, found: tuple[str, ...]) -> frozenset[str]:
        own = {self._name, f"{self._name}.local", "localhost", "127.0.0.1", "::1"}
        advertised = {_host_of(one) for one in self._settings().nodes.advertise}
        return frozenset(name.lower() for name in own | advertised | set(found))

    def _called(self, names: frozenset[str]) -> frozenset[str]:
        shown = {f"[{name}]" if ":" in name else name for name in names}
        keys = {f"join.{DOMAIN}"} | ({node_host(self.room.node_id)} if self.room.node_id else set())
        return frozenset({f"{name}:{self._port}" for name in shown} | keys)


def _with_port(place: str, port: int | None) -> str:
    """HOST:PORT of an address or name, with a port of its own or without one."""
    if place.startswith("[") or place.count(":") == 1:
        return place if not place.endswith("]") else f"{place}:{port}"
    return f"[{place}]:{port}" if ":" in place else f"{place}:{port}"


def _host_of(place: str) -> str:
    return _with_port(place, 0).rpartition(":")[0].strip("[]")

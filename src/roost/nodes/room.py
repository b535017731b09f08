"""All paired machines of this one: the file of peers, a way to each that has an address, and who came in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from roost.config.far import NodesSettings, WakeSettings
from roost.engines.far import FarServer
from roost.errors import NodeUnreachable, RoostError
from roost.nodes.identity import LIFETIME_S, Identity
from roost.nodes.peers import Peer, PeerBook
from roost.nodes.types import Link, NodeView
from roost.nodes.wake import wake
from roost.nodes.way import Outside, Way

log = structlog.get_logger(__name__)

#: A machine that comes to us is here while it asked something within so many of its looks.
_LOOKS_MISSED = 5


class Room:
    """`folder`: `state/node`. Nothing is made there before the first pairing, or before others may come in."""

    def __init__(
        self,
        folder: Path,
        settings: Callable[[], NodesSettings],
        name: str,
        environ: Mapping[str, str],
        *,
        now: Callable[[], float] = time.time,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        self._folder, self._settings, self.name, self._environ = folder, settings, name, environ
        self._now, self._lifetime_s = now, lifetime_s
        self.book = PeerBook(folder / "peers.json")
        #: Where others reach this machine; empty: nobody is let in.
        self.addresses: tuple[str, ...] = ()
        self.problem: str | None = None
        self._identity: Identity | None = None
        self._opening = asyncio.Lock()
        self._changed = asyncio.Event()
        self._ways: dict[str, tuple[asyncio.Task[None], Way]] = {}
        #: node_id -> unix time of its last request to us.
        self._seen: dict[str, float] = {}

    # This machine.

    @property
    def node_id(self) -> str | None:
        """None: it has no key yet."""
        return self._identity.node_id if self._identity else None

    async def identity(self) -> Identity:
        """Made at the first use. Raises BadConfiguration (an extra that is missing, a broken file), StorageFull."""
        async with self._opening:
            if self._identity is None:
                opened = await asyncio.to_thread(
                    lambda: Identity.open(self._folder, now=self._now, lifetime_s=self._lifetime_s)
                )
                self._identity = opened
            return self._identity

    # As `Nodes`.

    def views(self) -> tuple[NodeView, ...]:
        ways = {node_id: way.view() for node_id, (_, way) in self._ways.items()}
        return tuple(ways.get(peer.node_id) or self._visitor(peer) for peer in self.book.all())

    async def reach(self, name: str) -> FarServer:
        peer = self.book.named(name)
        if peer is None:
            raise NodeUnreachable(
                f'cannot reach {name}: no machine of this name is paired; see "roost node list"', should_retry=False
            )
        if not peer.addresses:
            raise NodeUnreachable(f"cannot reach {name}: it comes to this machine and has no address that we know")
        if peer.node_id not in self._ways:
            raise NodeUnreachable(f"cannot reach {name}: {self.problem or 'it has just been paired'}", retry_after_s=1)
        return await self._ways[peer.node_id][1].reach()

    def note(self, name: str, *, failed: bool) -> None:
        peer = self.book.named(name)
        if peer is not None and peer.node_id in self._ways:
            self._ways[peer.node_id][1].note(failed=failed)

    # What changes.

    def changed(self) -> None:
        """The file of peers is another one: look at once."""
        self._changed.set()

    def came_in(self, node_id: str) -> None:
        """A peer asked us something."""
        self._seen[node_id] = self._now()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                await self._follow(group)
                await self._renew()
                try:
                    async with asyncio.timeout(self._settings().look_every_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """One way to each peer that has an address, and to nobody else."""
        wanted = {peer.node_id: peer for peer in self.book.all() if peer.addresses}
        for node_id, (task, way) in list(self._ways.items()):
            peer = wanted.get(node_id)
            if peer is not None and (peer.name, peer.certificate) == (way.peer.name, way.peer.certificate):
                way.peer = peer
            else:
                task.cancel()
                del self._ways[node_id]
        for node_id, peer in wanted.items():
            made = await self._way(peer) if node_id not in self._ways else None
            if made is not None:
                self._ways[node_id] = (group.create_task(made.run(), name=f"way to {peer.name}"), made)

    async def _way(self, peer: Peer) -> Way | None:
        try:
            outside = Outside(await self.identity(), self._settings, lambda: self.addresses, self._moved, self._wake)
            way = Way(peer, outside)
        except (RoostError, OSError) as error:
            # OSError: TLS reads no certificate in what the file says of this peer.
            self.problem = f"cannot go to {peer.name}: {error}"
            return None
        self.problem = None
        return way

    async def _renew(self) -> None:
        if self._identity is None or self._identity.renews_in_s() > 0:
            return
        try:
            await asyncio.to_thread(self._identity.renew)
            for _, way in self._ways.values():
                way.renewed()
        except (RoostError, OSError) as error:
            self.problem = f"cannot renew this machine's certificate: {error}"
            return
        log.info("certificate renewed")

    async def _moved(self, node_id: str, addresses: tuple[str, ...]) -> None:
        known = self.book.get(node_id)
        if known is not None and addresses and known.addresses != addresses:
            try:
                await asyncio.to_thread(self.book.moved, node_id, addresses)
            except (RoostError, OSError) as error:
                log.warning("addresses not written", node=known.name, problem=str(error))
                return
            self._changed.set()

    async def _wake(self, name: str, how: WakeSettings) -> None:
        await wake(name, how, self._environ)

    def _visitor(self, peer: Peer) -> NodeView:
        """One that comes to us."""
        seen = self._seen.get(peer.node_id)
        view = NodeView(peer.name, peer.node_id, None, Link.CONNECTING, seen_at=seen)
        if seen is None:
            return view
        here = self._now() - seen < _LOOKS_MISSED * max(self._settings().look_every_s, 1.0)
        return NodeView(
            peer.name,
            peer.node_id,
            None,
            Link.UP if here else Link.DOWN,
            seen_at=seen,
            problem=None if here else "it does not come to this machine any more",
        )

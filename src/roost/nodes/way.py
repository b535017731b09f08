"""The way to one paired machine: looked at all the time, so that a request knows at once whether it leads anywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import aiohttp
import structlog

from roost.config.far import NodesSettings, WakeSettings
from roost.engines.far import FarServer
from roost.engines.wire import Wire
from roost.errors import NodeUnreachable
from roost.nodes.breaker import FAILURES, WITHIN_S, Breaker
from roost.nodes.identity import Identity
from roost.nodes.peers import MOST_ADDRESSES, Peer
from roost.nodes.questions import UNREACHED, OneAddress, Refusal, explained, shown, split_address, told_by
from roost.nodes.shapes import News, PeerStatus
from roost.nodes.tls import client_context, node_host
from roost.nodes.types import FIRST_BYTE_S, Link, NodeView

log = structlog.get_logger(__name__)

#: An answer to a look that has not come by then will not.
_LOOK_TIMEOUT_S = 5.0
_LARGEST_STATUS_BYTES = 4 * 2**20
IDLE_S = 35.0
#: A machine that wakes is looked at so often, and called again after so long.
_WAKING_LOOK_S, _WAKE_AGAIN_S = 0.5, 5.0
#: An unused connection is kept for less time than the other end keeps it.
_KEEP_ALIVE_S = 240.0
SURFACES = frozenset({"chat", "completions", "embeddings", "rerank"})
STATUS_PATH, RENEW_PATH = "/roost/v1/peer/status", "/roost/v1/peer/renew"


@dataclass(frozen=True)
class Outside:
    """What a way needs of the rest."""

    identity: Identity
    settings: Callable[[], NodesSettings]
    #: Where others reach this machine.
    own_addresses: Callable[[], tuple[str, ...]]
    #: A peer says that it can be reached elsewhere.
    moved: Callable[[str, tuple[str, ...]], Awaitable[None]]
    wake: Callable[[str, WakeSettings], Awaitable[None]]


class Way:
    """To one peer that has an address. `run` owns it; `view` and `reach` may be asked at any time."""

    def __init__(self, peer: Peer, outside: Outside) -> None:
        self.peer, self._outside = peer, outside
        self._breaker = Breaker()
        self._resolver = OneAddress()
        self._good: str | None = None
        self._turn = 0
        self._problems_told: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._server: FarServer | None = None
        self._context = client_context(outside.identity, peer.certificate, peer.node_id)
        self._told: tuple[str, ...] = ()
        self._looked, self._up, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._woken_at = float("-inf")
        self._view = NodeView(peer.name, peer.node_id, peer.addresses[0], Link.CONNECTING)

    def view(self) -> NodeView:
        wakes = self.peer.name in self._outside.settings().wake
        return self._view if self._view.wakes == wakes else replace(self._view, wakes=wakes)

    # Looking.

    async def run(self) -> None:
        """Until cancelled."""
        self._open()
        assert self._session is not None
        try:
            while True:
                self._hurry.clear()
                await self._look()
                await self._pause()
        finally:
            self._up.clear()
            await self._session.close()

    def renewed(self) -> None:
        """Our own certificate is a new one: new connections show it."""
        self._context.load_cert_chain(self._outside.identity.leaf_file)

    def _open(self) -> None:
        connector = aiohttp.TCPConnector(
            ssl=self._context,
            resolver=self._resolver,
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_S,
        )
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        base = f"https://{node_host(self.peer.node_id)}"
        headers = {"x-roost-origin": self._outside.identity.node_id, "x-roost-hops": "1"}
        wire = Wire(self._session, base, headers, self._outside.settings().connect_timeout_s)
        self._server = FarServer(
            name=self.peer.name,
            session=self._session,
            wire=wire,
            base_url=base,
            headers=headers,
            surfaces=SURFACES,
            max_tokens_field="max_tokens",
            first_byte_s=FIRST_BYTE_S,
            idle_s=IDLE_S,
            is_away=lambda: self._view.link is Link.DOWN,
        )

    async def _pause(self) -> None:
        waking = time.monotonic() - self._woken_at < _WAKE_AGAIN_S and not self._up.is_set()
        wait_s = _WAKING_LOOK_S if waking else self._outside.settings().look_every_s
        try:
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """Asks it how it stands, by the address that was good last, then by the others."""
        problems: list[tuple[str, str | None]] = []
        for address in self._in_order():
            self._resolver.address = split_address(address)
            began_at = time.monotonic()
            try:
                status = await self._ask()
            except UNREACHED as error:
                problems.append(explained(error, address))
                continue
            self._answered(address, status, began_at)
            await self._exchange_news(status)
            return
        self._failed(problems)

    def _in_order(self) -> Sequence[str]:
        """All of them until one was good; then that one and, in turn, one of the others: a machine that comes back
        is not to wait for every address where nobody is."""
        if self._good is None:
            return self.peer.addresses
        others = [address for address in self.peer.addresses if address != self._good]
        self._turn += 1
        return (self._good, others[self._turn % len(others)]) if others else (self._good,)

    async def _ask(self) -> PeerStatus:
        async with self._request("GET", STATUS_PATH) as response:
            body = await response.content.read(_LARGEST_STATUS_BYTES + 1)
            while body and len(body) <= _LARGEST_STATUS_BYTES and (more := await response.content.readany()):
                body += more
            if response.status != 200:
                raise Refusal(told_by(body) or f"it answers {response.status}")
            return PeerStatus.model_validate_json(body)

    def _request(self, method: str, path: str, body: bytes | None = None) -> aiohttp.client._RequestContextManager:
        assert self._session is not None and self._server is not None
        connect_s = self._outside.settings().connect_timeout_s
        return self._session.request(
            method,
            self._server.base_url + path,
            data=body,
            headers={"Content-Type": "application/json"} if body else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=max(_LOOK_TIMEOUT_S, connect_s), sock_connect=connect_s),
        )

    def _answered(self, address: str, status: PeerStatus, began_at: float) -> None:
        now = time.monotonic()
        if self._view.link is not Link.UP:
            log.info("node up", node=self.peer.name, address=address)
        self._good = address
        self._problems_told.clear()
        self._breaker.probed(began_at)
        self._view = NodeView(
            name=self.peer.name,
            node_id=self.peer.node_id,
            address=address,
            link=Link.UP,
            latency_s=now - began_at,
            seen_at=time.time(),
            version=shown(status.version),
            draining=status.draining,
            models=status.sound_models(),
            roles=status.sound_roles(),
            budget_bytes=status.budget_bytes,
            free_bytes=status.free_bytes,
            wakes=self._view.wakes,
        )
        if self._breaker.opened_at is not None:
            self._break()
        else:
            self._up.set()
        self._looked.set()

    def _failed(self, problems: list[tuple[str, str | None]]) -> None:
        problem, mend = problems[0]
        # A key that is not the pinned one says more than an address where nobody is.
        for told, how in problems:
            if how is not None:
                problem, mend = told, how
        if problem not in self._problems_told:
            self._problems_told.add(problem)
            log.warning("node down", node=self.peer.name, problem=problem)
        self._view = replace(self._view, link=Link.DOWN, problem=problem, mend=mend, latency_s=None)
        self._up.clear()
        self._looked.set()

    async def _exchange_news(self, status: PeerStatus) -> None:
        """Each learns where the other can be reached from now on."""
        # The address that leads there is kept, though the machine may not know it: as behind a forwarded port.
        good = () if self._good is None else (self._good,)
        others = (address for address in status.addresses if address != self._good)
        if status.addresses:
            await self._outside.moved(self.peer.node_id, (*good, *others)[:MOST_ADDRESSES])
        own = self._outside.own_addresses()
        if not own or own == self._told:
            return
        try:
            async with self._request("POST", RENEW_PATH, News(addresses=own).model_dump_json().encode()) as response:
                await response.read()
        except UNREACHED as error:
            log.info("node not told", node=self.peer.name, problem=type(error).__name__)
            return
        self._told = own

    # Requests.

    def note(self, *, failed: bool) -> None:
        """A request got an answer, or the connection broke."""
        if self._breaker.note(failed=failed):
            self._break()
        if failed:
            self._hurry.set()

    def _break(self) -> None:
        problem = f"{FAILURES} requests within {WITHIN_S:g} s broke off; it is looked at again"
        log.warning("node down", node=self.peer.name, problem=problem)
        self._view = replace(self._view, link=Link.DOWN, problem=problem, mend=None)
        self._up.clear()

    async def reach(self) -> FarServer:
        """Raises NodeUnreachable. Wakes it if it can be woken, and waits until it is up: whoever asks bounds that."""
        if not self._looked.is_set():
            await self._first_look()
        if not self._up.is_set():
            await self._woken()
        assert self._server is not None
        return self._server

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(self._outside.settings().connect_timeout_s):
                await self._looked.wait()
        except TimeoutError:
            return

    async def _woken(self) -> None:
        settings = self._outside.settings()
        how = settings.wake.get(self.peer.name)
        if how is None:
            why = self._view.problem or "it has not answered yet"
            raise NodeUnreachable(
                f'cannot reach {self.peer.name}: {why}; "roost node list" shows how it stands',
                retry_after_s=settings.look_every_s,
            )
        while not self._up.is_set():
            if time.monotonic() - self._woken_at >= _WAKE_AGAIN_S:
                self._woken_at = time.monotonic()
                await self._outside.wake(self.peer.name, how)
            self._hurry.set()
            try:
                async with asyncio.timeout(_WAKING_LOOK_S):
                    await self._up.wait()
            except TimeoutError:
                continue

"""Models that travel between this machine and its paired ones, by digest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

import structlog

from roost.api import TravelEvent, TravelWish
from roost.catalog.adding import check_id
from roost.catalog.arrival import Arrival, Landing
from roost.catalog.catalog import Catalog
from roost.catalog.refusal import disk_errors
from roost.catalog.spec import ModelSpec
from roost.catalog.travel import Digests, Piece, files_of
from roost.daemon.pushing import Receiving, Sending
from roost.daemon.shelf import Shelf
from roost.errors import BadRequest, ModelNotFound, NodeUnreachable, NotFound, RoostError
from roost.nodes.travel import Awaited, BrokeOff, FileHere, FileSaid, WeightsSaid, ask_for_files, read_file
from roost.nodes.types import Link, Nodes

log = structlog.get_logger(__name__)

#: So often a transfer that broke off is taken up again without a byte having come, and after so long.
TRIES = 5
RETRY_S = 2.0
#: How often somebody who watches is told.
_TELL_EVERY_S = 0.2

Accepts = Callable[[], tuple[str, ...]]


class TravellingModels:
    """One a daemon. `models`: the folder that arriving ones are put into."""

    def __init__(
        self, catalog: Catalog, models: Path, nodes: Nodes, accepts: Accepts, *, retry_s: float = RETRY_S
    ) -> None:
        self._catalog, self._nodes, self._retry_s = catalog, nodes, retry_s
        self._shelf = Shelf(catalog, models)
        self._receiving = Receiving(self._shelf, accepts)
        self._digests = Digests()
        self._hashing = asyncio.Lock()

    # Given to others.

    async def offered(self, name: str) -> WeightsSaid:
        spec = self._catalog.require(name)
        return _said(spec, await self._files(spec))

    async def file(self, name: str, digest: str) -> FileHere:
        files = await self._files(self._catalog.require(name))
        for piece, path in files.items():
            if piece.sha256 == digest:
                return FileHere(path, piece.size_bytes)
        raise NotFound(f"no file of {name} has the digest {digest[:64]}")

    async def _files(self, spec: ModelSpec) -> dict[Piece, Path]:
        """One model at a time is hashed, whoever asks."""
        with disk_errors(f"read {spec.id}"):
            async with self._hashing:
                return await asyncio.to_thread(self._hashed, spec)

    def _hashed(self, spec: ModelSpec) -> dict[Piece, Path]:
        pieces = self._digests.pieces(files_of(spec), lambda _: None)
        unknown = {file.path for file in spec.files if file.sha256 is None}
        fresh = {path: piece.sha256 for piece, path in pieces.items() if path in unknown}
        if fresh:
            try:
                self._catalog.record(fresh)
            except RoostError as error:
                log.warning("digests not kept", model=spec.id, problem=error.message)
        return pieces

    # Fetched from others.

    async def pull(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        wanted = wish.id or wish.model
        check_id(wanted)
        node = wish.node or self._who_has(wish.model)
        self._check_way(node, f"roost models push {wish.model}")
        server = await self._nodes.reach(node)
        yield TravelEvent(step="ask", model=wanted, node=node)
        said = await ask_for_files(server, wish.model)
        if self._shelf.same(said.fingerprint, wanted) is None:
            fetched = 0
            async with aclosing(self._fetched(wish.model, wanted, node, said)) as events:
                async for event in events:
                    fetched = event.moved_bytes
                    yield event
        else:
            fetched = 0
            await self._shelf.named(said.fingerprint, wanted)
        log.info("model here", model=wanted, node=node, moved_bytes=fetched)
        yield TravelEvent(step="done", model=wanted, node=node, moved_bytes=fetched)

    def _check_way(self, node: str, instead: str) -> None:
        """Raises NodeUnreachable for a machine that comes here and cannot be gone to."""
        if any(view.name == node and view.address is None for view in self._nodes.views()):
            raise NodeUnreachable(
                f"cannot go to {node}: it comes to this machine and lets none in; on {node}, run "
                f'"{instead} NODE" with the name that this machine has there',
                should_retry=False,
            )

    def _who_has(self, name: str) -> str:
        having = [
            view
            for view in self._nodes.views()
            if view.link is Link.UP and view.address and any(model.id == name for model in view.models)
        ]
        if not having:
            raise ModelNotFound(
                f'cannot fetch {name}: no paired machine that can be reached has it; see "roost node list", or '
                f'fetch it from the hub: "roost models add {name}"'
            )
        return min(having, key=lambda view: view.latency_s or 0.0).name

    async def _fetched(self, name: str, wanted: str, node: str, said: WeightsSaid) -> AsyncGenerator[TravelEvent, None]:
        arrival = self._shelf.arrival(said, wanted)
        with self._shelf.taking(arrival, wanted), disk_errors(f"keep {wanted}"):
            await asyncio.to_thread(arrival.prepare)
            transfer = Transfer(self._nodes, node, name, wanted, arrival, self._retry_s)
            async with aclosing(transfer.run()) as events:
                async for event in events:
                    yield event
            await asyncio.to_thread(self._shelf.add, arrival, said, wanted)

    # Sent to others, and taken.

    async def push(self, wish: TravelWish) -> AsyncGenerator[TravelEvent, None]:
        if wish.node is None:
            raise BadRequest("say to which machine", param="node")
        spec = self._catalog.require(wish.model)
        self._check_way(wish.node, f"roost models pull {spec.id}")
        yield TravelEvent(step="ask", model=spec.id, node=wish.node)
        files = await self._files(spec)
        said = _said(spec, files).model_copy(update={"id": wish.id or spec.id})
        places = {piece.sha256: path for piece, path in files.items()}
        sending = Sending(self._nodes, wish.node, said, places, self._retry_s, TRIES)
        with disk_errors(f"read {spec.id}"):
            async with aclosing(sending.run()) as events:
                async for event in events:
                    yield event

    async def arrive(self, peer: str, name: str, said: WeightsSaid) -> Awaited:
        check_id(name)
        return await self._receiving.arrive(peer, name, said)

    async def take(self, peer: str, name: str, digest: str, offset: int, body: AsyncIterator[bytes]) -> None:
        await self._receiving.take(peer, name, digest, offset, body)


def _said(spec: ModelSpec, files: Iterable[Piece]) -> WeightsSaid:
    said = tuple(FileSaid(role=p.role, name=p.name, size_bytes=p.size_bytes, sha256=p.sha256) for p in files)
    return WeightsSaid.model_validate(
        {"id": spec.id, "format": spec.format.value, "fingerprint": spec.fingerprint, "files": said}
    )


class Transfer:
    """The files of one model from one machine, as far as they are not here. `run` may break off and be run again."""

    def __init__(self, nodes: Nodes, node: str, name: str, wanted: str, arrival: Arrival, retry_s: float) -> None:
        self._nodes, self._node, self._name, self._wanted = nodes, node, name, wanted
        self._arrival, self._retry_s = arrival, retry_s
        self._total = sum(piece.size_bytes for piece in arrival.pieces)
        self._done = self._fetched = 0
        self._told_at = float("-inf")

    async def run(self) -> AsyncGenerator[TravelEvent, None]:
        """Raises NodeUnreachable (what came stays), ModelRefused, OSError."""
        for piece in self._arrival.pieces:
            landing = await asyncio.to_thread(self._arrival.landing, piece)
            try:
                self._done += landing.offset
                yield self._event()
                async with aclosing(self._rest(piece, landing)) as events:
                    async for event in events:
                        yield event
                await asyncio.to_thread(landing.finish)
            finally:
                landing.close()
        yield self._event()

    async def _rest(self, piece: Piece, landing: Landing) -> AsyncGenerator[TravelEvent, None]:
        tries = 0
        while landing.offset < piece.size_bytes:
            before = landing.offset
            try:
                server = await self._nodes.reach(self._node)
                async with aclosing(read_file(server, self._name, piece.sha256, landing.offset)) as parts:
                    async for data in parts:
                        await asyncio.to_thread(landing.take, data)
                        self._done += len(data)
                        self._fetched += len(data)
                        if self._due():
                            yield self._event()
            except (BrokeOff, NodeUnreachable) as error:
                tries = 1 if landing.offset > before else tries + 1
                await self._after(error, tries)

    async def _after(self, error: Exception, tries: int) -> None:
        log.info("transfer broke off", model=self._wanted, node=self._node, done_bytes=self._done, problem=str(error))
        if tries >= TRIES:
            raise NodeUnreachable(
                f"cannot fetch the rest of {self._wanted} from {self._node}: it broke off after {self._done:,} of "
                f"{self._total:,} bytes; the same command goes on from there"
            ) from error
        if isinstance(error, BrokeOff):
            self._nodes.note(self._node, failed=True)
        await asyncio.sleep(self._retry_s)

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told_at < _TELL_EVERY_S:
            return False
        self._told_at = now
        return True

    def _event(self) -> TravelEvent:
        return TravelEvent(
            step="fetch",
            model=self._wanted,
            node=self._node,
            done_bytes=self._done,
            total_bytes=self._total,
            moved_bytes=self._fetched,
        )

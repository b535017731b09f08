"""Models that are pushed: sent to a paired machine, which may not be able to come here for them, and taken from one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from roost.api import TravelEvent
from roost.catalog.arrival import Arrival, Landing
from roost.catalog.refusal import disk_errors
from roost.catalog.travel import Piece
from roost.daemon.shelf import Shelf
from roost.errors import BadRequest, Conflict, Forbidden, ModelUnavailable, NodeUnreachable
from roost.nodes.travel import SLICE_BYTES, Awaited, BrokeOff, WeightsSaid, announce, send_slice
from roost.nodes.types import Nodes

log = structlog.get_logger(__name__)


@dataclass
class Expected:
    """What one machine has announced."""

    said: WeightsSaid
    arrival: Arrival
    #: Digests of files that are here whole.
    checked: set[str] = field(default_factory=set)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    landing: tuple[str, Landing] | None = None

    def close(self) -> None:
        if self.landing is not None:
            self.landing[1].close()
        self.landing = None

    def pieces(self, digest: str) -> list[Piece]:
        """The files with these bytes; several may have the same."""
        return [piece for piece in self.arrival.pieces if piece.sha256 == digest]


class Receiving:
    """The end that takes. `accepts`: the names of the machines that may put models here, or `*`."""

    def __init__(self, shelf: Shelf, accepts: Callable[[], tuple[str, ...]]) -> None:
        self._shelf, self._accepts = shelf, accepts
        #: By the machine: one model at a time from each.
        self._expected: dict[str, Expected] = {}

    async def arrive(self, peer: str, name: str, said: WeightsSaid) -> Awaited:
        """What is still to be sent of it; with nothing left it is added. Raises Forbidden, BadRequest, StorageFull."""
        self._check(peer)
        if self._shelf.same(said.fingerprint, name) is not None:
            await self._shelf.named(said.fingerprint, name)
            self._forget(peer)
            return Awaited(here=True)
        known = self._expected.get(peer)
        if known is None or known.said != said:
            arrival = self._shelf.arrival(said, name)
            self._forget(peer)
            known = self._expected[peer] = Expected(said, arrival)
        async with known.turn:
            with self._shelf.taking(known.arrival, name), disk_errors(f"keep {name}"):
                return await self._standing(peer, name, known)

    async def _standing(self, peer: str, name: str, known: Expected) -> Awaited:
        known.close()
        await asyncio.to_thread(known.arrival.prepare)
        firsts = {piece.sha256: piece for piece in reversed(known.arrival.pieces) if piece.sha256 not in known.checked}
        if firsts:
            return Awaited(missing={digest: known.arrival.arrived_bytes(piece) for digest, piece in firsts.items()})
        try:
            await asyncio.to_thread(self._shelf.add, known.arrival, known.said, name)
        finally:
            self._forget(peer)
        log.info("model here", model=name, node=peer)
        return Awaited(here=True)

    async def take(self, peer: str, name: str, digest: str, offset: int, body: AsyncIterator[bytes]) -> None:
        """The next bytes of a file that was announced. Raises Conflict (announce it again), Forbidden, ModelRefused."""
        known = self._expected.get(peer)
        if known is None or known.said.id != name or not known.pieces(digest):
            raise Conflict(f"cannot take a part of {name[:200]}: it was not announced, or something else was since")
        self._check(peer)
        async with known.turn:
            with self._shelf.taking(known.arrival, name), disk_errors(f"keep {name}"):
                await self._taken(known, digest, offset, body)

    async def _taken(self, known: Expected, digest: str, offset: int, body: AsyncIterator[bytes]) -> None:
        first, *twins = known.pieces(digest)
        if known.landing is None or known.landing[0] != digest:
            known.close()
            known.landing = (digest, await asyncio.to_thread(known.arrival.landing, first))
        landing = known.landing[1]
        if landing.offset != offset:
            raise Conflict(f"cannot go on with {first.name} at byte {offset:,}: {landing.offset:,} are here")
        async for data in body:
            await asyncio.to_thread(landing.take, data)
        if landing.offset == first.size_bytes:
            try:
                await asyncio.to_thread(landing.finish)
            finally:
                known.close()
            for twin in twins:
                await asyncio.to_thread(known.arrival.copy, first, twin)
            known.checked.add(digest)

    def _check(self, peer: str) -> None:
        accepts = self._accepts()
        if peer not in accepts and "*" not in accepts:
            raise Forbidden(
                f'this machine takes no models from {peer}; set nodes.accept_models = ["{peer}"] in its roost.toml, or '
                'run "roost models pull" there'
            )

    def _forget(self, peer: str) -> None:
        if (gone := self._expected.pop(peer, None)) is not None:
            gone.close()


class Sending:
    """One model to one machine. `run` may break off and be run again."""

    def __init__(
        self,
        nodes: Nodes,
        node: str,
        said: WeightsSaid,
        files: Mapping[str, Path],
        retry_s: float,
        tries: int,
    ) -> None:
        self._nodes, self._node, self._said, self._files = nodes, node, said, files
        self._retry_s, self._tries = retry_s, tries
        self._sizes = {file.sha256: file.size_bytes for file in said.files}
        self._total = sum(self._sizes.values())
        self._done = self._moved = 0

    async def run(self) -> AsyncGenerator[TravelEvent, None]:
        """Raises NodeUnreachable (what went is kept there), and others with the words of the machine."""
        tries, here = 0, False
        while not here:
            before = self._moved
            try:
                server = await self._nodes.reach(self._node)
                awaited = await announce(server, self._said)
                self._done = self._total - sum(self._sizes.get(one, 0) - at for one, at in awaited.missing.items())
                here = awaited.here
                async with aclosing(self._missing(awaited)) as events:
                    async for event in events:
                        yield event
                if not here and self._moved == before:
                    # Once is in order: all of it lay there, and was only checked.
                    tries += 1
                    if tries >= self._tries:
                        raise BadRequest(f"cannot send {self._said.id}: {self._node} goes on asking for it")
            except (BrokeOff, NodeUnreachable, Conflict) as error:
                tries = 1 if self._moved > before else tries + 1
                await self._after(error, tries)
        yield self._event("done")

    async def _missing(self, awaited: Awaited) -> AsyncGenerator[TravelEvent, None]:
        server = await self._nodes.reach(self._node)
        for digest, offset in awaited.missing.items():
            if digest not in self._files or offset > self._sizes[digest]:
                raise BadRequest(f"{self._node} waits for a file that is none of {self._said.id}")
            at = offset
            # One that is there whole is sent no byte of, and checked.
            while True:
                data = await asyncio.to_thread(_slice, self._files[digest], at)
                if not data and at < self._sizes[digest]:
                    raise ModelUnavailable(f"cannot send {self._said.id}: one of its files became shorter")
                await send_slice(server, self._said.id, digest, at, data)
                at += len(data)
                self._done, self._moved = self._done + len(data), self._moved + len(data)
                yield self._event("send")
                if not data or at >= self._sizes[digest]:
                    break

    async def _after(self, error: Exception, tries: int) -> None:
        log.info("transfer broke off", model=self._said.id, node=self._node, done_bytes=self._done, problem=str(error))
        if tries >= self._tries:
            raise NodeUnreachable(
                f"cannot send the rest of {self._said.id} to {self._node}: it broke off after {self._done:,} of "
                f"{self._total:,} bytes ({error}); the same command goes on from there"
            ) from error
        if isinstance(error, BrokeOff):
            self._nodes.note(self._node, failed=True)
        await asyncio.sleep(self._retry_s)

    def _event(self, step: str) -> TravelEvent:
        return TravelEvent(
            step=step,
            model=self._said.id,
            node=self._node,
            done_bytes=self._done,
            total_bytes=self._total,
            moved_bytes=self._moved,
        )


def _slice(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(SLICE_BYTES)

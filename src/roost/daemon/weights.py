"""Models that travel between this machine and its paired ones, by digest."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import structlog

from roost.api import TravelEvent, TravelWish
from roost.catalog.adding import check_id
from roost.catalog.arrival import Arrival, Landing, check_pieces, entrance
from roost.catalog.catalog import Catalog
from roost.catalog.refusal import ModelRefused, disk_errors
from roost.catalog.spec import ModelSpec
from roost.catalog.travel import Digests, Piece, files_of
from roost.errors import BadRequest, Conflict, ModelNotFound, NodeUnreachable, NotFound, RoostError
from roost.nodes.travel import BrokeOff, FileHere, FileSaid, WeightsSaid, ask_for_files, read_file
from roost.nodes.types import Link, Nodes

log = structlog.get_logger(__name__)

#: So often a transfer that broke off is taken up again without a byte having come, and after so long.
TRIES = 5
RETRY_S = 2.0
#: How often somebody who watches is told.
_TELL_EVERY_S = 0.2


class TravellingModels:
    """One a daemon. `models`: the folder that arriving ones are put into."""

    def __init__(self, catalog: Catalog, models: Path, nodes: Nodes, *, retry_s: float = RETRY_S) -> None:
        self._catalog, self._models, self._nodes, self._retry_s = catalog, models, nodes, retry_s
        self._digests = Digests()
        self._hashing = asyncio.Lock()
        self._under_way: set[str] = set()

    # Given to others.

    async def offered(self, name: str) -> WeightsSaid:
        spec = self._catalog.require(name)
        files = await self._files(spec)
        said = tuple(FileSaid(role=p.role, name=p.name, size_bytes=p.size_bytes, sha256=p.sha256) for p in files)
        return WeightsSaid.model_validate(
            {"id": spec.id, "format": spec.format.value, "fingerprint": spec.fingerprint, "files": said}
        )

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
        server = await self._nodes.reach(node)
        yield TravelEvent(step="ask", model=wanted, node=node)
        said = await ask_for_files(server, wish.model)
        if self._same(said.fingerprint, wanted) is None:
            fetched = 0
            async with aclosing(self._fetched(wish.model, wanted, node, said)) as events:
                async for event in events:
                    fetched = event.fetched_bytes
                    yield event
        else:
            fetched = 0
            await self._named(said.fingerprint, wanted)
        log.info("model here", model=wanted, node=node, fetched_bytes=fetched)
        yield TravelEvent(step="done", model=wanted, node=node, fetched_bytes=fetched)

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

    def _same(self, fingerprint: str, wanted: str) -> ModelSpec | None:
        """The very weights, under this id or another."""
        found = [one for one in self._catalog.all() if isinstance(one, ModelSpec) and one.fingerprint == fingerprint]
        return next((one for one in found if one.id == wanted), found[0] if found else None)

    async def _named(self, fingerprint: str, wanted: str) -> None:
        """Weights that are here already get the id too."""
        here = self._same(fingerprint, wanted)
        if here is not None and here.id != wanted:
            await asyncio.to_thread(self._catalog.add, here.id, model_id=wanted)

    async def _fetched(self, name: str, wanted: str, node: str, said: WeightsSaid) -> AsyncGenerator[TravelEvent, None]:
        arrival = self.arrival(said, wanted)
        self._begin(arrival, wanted)
        try:
            with disk_errors(f"keep {wanted}"):
                await asyncio.to_thread(arrival.prepare)
                transfer = Transfer(self._nodes, node, name, wanted, arrival, self._retry_s)
                async with aclosing(transfer.run()) as events:
                    async for event in events:
                        yield event
                await asyncio.to_thread(self.add, arrival, said, wanted)
        finally:
            self._under_way.discard(arrival.key)

    def arrival(self, said: WeightsSaid, wanted: str) -> Arrival:
        """Raises ModelRefused, BadRequest (the id means something else here)."""
        pieces = tuple(Piece(one.role, one.name, one.size_bytes, one.sha256) for one in said.files)
        check_pieces(said.format, pieces)
        if self._catalog.get(wanted) is not None:
            raise BadRequest(f"cannot take {wanted}: another model has that id here; choose another with --id")
        return Arrival(self._models, pieces)

    def _begin(self, arrival: Arrival, wanted: str) -> None:
        if arrival.key in self._under_way:
            raise Conflict(f"cannot take {wanted}: it is arriving already; wait for that")
        self._under_way.add(arrival.key)

    def add(self, arrival: Arrival, said: WeightsSaid, wanted: str) -> None:
        """All files are here and were checked. Blocks. Raises RoostError, and leaves nothing of it then."""
        place = arrival.settle(wanted)
        first = entrance(said.format, arrival.pieces)
        digests = {place / piece.name: piece.sha256 for piece in arrival.pieces}
        try:
            spec = self._catalog.add(str(place / first if first else place), model_id=wanted, digests=digests)
            if spec.fingerprint != said.fingerprint:
                self._catalog.remove(wanted)
                raise ModelRefused(f"cannot keep {wanted}: its files are not the model that was announced")
        except RoostError:
            shutil.rmtree(place, ignore_errors=True)
            raise


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
            fetched_bytes=self._fetched,
        )

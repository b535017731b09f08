"""Where models from other machines are put: under which id, checked against what was announced, one at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roost.catalog.arrival import Arrival, check_pieces, entrance
from roost.catalog.catalog import Catalog
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec
from roost.catalog.travel import Piece
from roost.errors import BadRequest, Conflict, RoostError
from roost.nodes.travel import WeightsSaid


class Shelf:
    """One a daemon. `models`: the folder that arriving ones are put into."""

    def __init__(self, catalog: Catalog, models: Path) -> None:
        self._catalog, self._models = catalog, models
        self._under_way: set[str] = set()

    @contextmanager
    def taking(self, arrival: Arrival, wanted: str) -> Iterator[None]:
        """Raises Conflict while somebody else takes the same files."""
        if arrival.key in self._under_way:
            raise Conflict(f"cannot take {wanted}: it is arriving already; wait for that")
        self._under_way.add(arrival.key)
        try:
            yield
        finally:
            self._under_way.discard(arrival.key)

    def same(self, fingerprint: str, wanted: str) -> ModelSpec | None:
        """The very weights, under this id or another."""
        found = [one for one in self._catalog.all() if isinstance(one, ModelSpec) and one.fingerprint == fingerprint]
        return next((one for one in found if one.id == wanted), found[0] if found else None)

    async def named(self, fingerprint: str, wanted: str) -> None:
        """Weights that are here already get the id too."""
        here = self.same(fingerprint, wanted)
        if here is not None and here.id != wanted:
            await asyncio.to_thread(self._catalog.add, here.id, model_id=wanted)

    def arrival(self, said: WeightsSaid, wanted: str) -> Arrival:
        """Raises ModelRefused, BadRequest (the id means something else here)."""
        pieces = tuple(Piece(one.role, one.name, one.size_bytes, one.sha256) for one in said.files)
        check_pieces(said.format, pieces)
        if self._catalog.get(wanted) is not None:
            raise BadRequest(f"cannot take {wanted}: another model has that id here; choose another with --id")
        return Arrival(self._models, pieces)

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

"""Peaks of memory that workers showed, kept over restarts. Everything here blocks: call it from a thread.

A database that cannot be used costs what was learned, never a start: `load` answers with nothing, `save` with why.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from roost.store.database import CannotOpen, open_database
from roost.store.schema import learned_peaks

#: Ways of starting that are remembered; the ones that were not seen for longest go first.
LARGEST_COUNT = 2000


@dataclass(frozen=True)
class PeakRow:
    """What is known of one way of starting a model."""

    #: Names weights, engine, version, sizes and kind of host.
    key: str
    model_id: str
    host_bytes: int
    gpu_bytes: int
    clean_runs: int
    #: Of its KV cache, from 0 to 1.
    fill: float
    #: What a kill for memory proved; 0: none.
    at_least_bytes: int
    #: Unix time of the last run.
    seen_at: float


class PeakStore:
    """One row a way of starting, in the node's database. One call at a time."""

    def __init__(self, path: Path) -> None:
        #: What happened to an earlier file; None: nothing.
        self.notice: str | None = None
        self._path = path
        self._engine: Engine | None = None

    def load(self) -> list[PeakRow]:
        """All of them; none when the database cannot be read now."""
        columns = [learned_peaks.c[field.name] for field in fields(PeakRow)]
        try:
            with self._opened().connect() as connection:
                return [PeakRow(**row._mapping) for row in connection.execute(select(*columns))]
        except (CannotOpen, DatabaseError):
            self.close()
            return []

    def save(self, row: PeakRow) -> str | None:
        """In place of what was known of this key; why it could not be written, or None."""
        values = vars(row)
        newest = select(learned_peaks.c.key).order_by(learned_peaks.c.seen_at.desc()).limit(LARGEST_COUNT)
        try:
            with self._opened().begin() as connection:
                connection.execute(insert(learned_peaks).values(values).on_conflict_do_update(["key"], set_=values))
                if (connection.scalar(select(func.count()).select_from(learned_peaks)) or 0) > LARGEST_COUNT:
                    connection.execute(delete(learned_peaks).where(learned_peaks.c.key.not_in(newest)))
        except (CannotOpen, DatabaseError) as error:
            self.close()
            return f"cannot keep what was learned of {row.model_id}: {error}"
        return None

    def close(self) -> None:
        """Lets go of the file; the next call opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _opened(self) -> Engine:
        if self._engine is None:
            opened = open_database(self._path)
            self._engine, self.notice = opened.engine, opened.problem or self.notice
        return self._engine

"""Puts the backlog into the database. Everything here blocks and runs on the store's own thread, one call at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from roost.store.backlog import Backlog
from roost.store.database import LARGEST_DATABASE_BYTES, CannotOpen, is_damage, is_full, open_database
from roost.store.queries import Retention, insert_activity, newest_activity, prune_activity
from roost.store.types import ActivityRow

_MIB = 2**20


@dataclass(frozen=True)
class WriterSettings:
    batch_rows: int = 500
    #: Rows are pruned after each so many written.
    prune_every_rows: int = 1000
    retention: Retention = field(default_factory=Retention)
    largest_bytes: int = LARGEST_DATABASE_BYTES


class Writer:
    """Owns the connection. `failure` is why the last try failed, `notice` what happened to an earlier file."""

    def __init__(self, path: Path, backlog: Backlog, settings: WriterSettings, now: Callable[[], float]) -> None:
        self.failure: str | None = None
        self.notice: str | None = None
        self._path = path
        self._backlog = backlog
        self._settings = settings
        self._now = now
        self._engine: Engine | None = None
        self._written_since_prune = 0

    def stored(self, limit: int) -> list[ActivityRow]:
        """What earlier daemons wrote, oldest first; empty when the database cannot be opened now."""
        try:
            with self._opened().connect() as connection:
                return newest_activity(connection, limit)
        except (CannotOpen, DatabaseError) as error:
            self._failed(error)
            return []

    def flush(self) -> bool:
        """Write all that waits; False when a batch had to be put back."""
        while batch := self._backlog.take(self._settings.batch_rows):
            try:
                self._write(batch)
            except (CannotOpen, DatabaseError) as error:
                self._backlog.put_back(batch)
                self._failed(error)
                return False
            self.failure = None
        return True

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.flush()
        self._release()

    def _write(self, batch: Sequence[ActivityRow]) -> None:
        with self._opened().begin() as connection:
            insert_activity(connection, batch)
            self._written_since_prune += len(batch)
            if self._written_since_prune >= self._settings.prune_every_rows:
                prune_activity(connection, self._settings.retention, self._now())
                self._written_since_prune = 0

    def _opened(self) -> Engine:
        if self._engine is None:
            opened = open_database(self._path, largest_bytes=self._settings.largest_bytes)
            self._engine, self.notice = opened.engine, opened.problem or self.notice
        return self._engine

    def _failed(self, error: CannotOpen | DatabaseError) -> None:
        self.failure = self._explain(error)
        if isinstance(error, DatabaseError) and is_damage(error):
            # The next try opens the file anew, which finds the damage and moves it aside.
            self._release()

    def _explain(self, error: CannotOpen | DatabaseError) -> str:
        if isinstance(error, CannotOpen):
            return str(error)
        if not is_full(error):
            return f"cannot write {self._path}: {error.orig}"
        free = shutil.disk_usage(self._path.parent).free // _MIB
        largest = self._settings.largest_bytes // _MIB
        return (
            f"cannot write {self._path}: {free} MiB free on its disk, the file may have {largest} MiB; free some space"
        )

    def _release(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

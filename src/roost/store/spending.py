"""What was spent at clouds, one row a day, cloud, model and key, kept over restarts. Everything here blocks: call it
from a thread.

A database that cannot be used costs what was booked in it, never a request: `load` answers with nothing, `add` with
why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from roost.store.database import CannotOpen, open_database
from roost.store.schema import cloud_spending

#: Days that are kept.
DAYS_KEPT = 400


@dataclass(frozen=True)
class SpendingRow:
    """Of one day (of UTC, as 2026-11-28), cloud, model and key (empty: nobody's)."""

    day: str
    cloud: str
    model_id: str
    consumer: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


_SUMS = ("requests", "prompt_tokens", "completion_tokens", "usd")


class SpendingStore:
    """In the node's database. One call at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None

    def load(self, day: str) -> list[SpendingRow]:
        """Those of one day; none when the database cannot be read now."""
        columns = [cloud_spending.c[field.name] for field in fields(SpendingRow)]
        try:
            with self._opened().connect() as connection:
                rows = connection.execute(select(*columns).where(cloud_spending.c.day == day))
                return [SpendingRow(**row._mapping) for row in rows]
        except (CannotOpen, DatabaseError):
            self.close()
            return []

    def add(self, rows: Sequence[SpendingRow]) -> str | None:
        """To what is there of the same day, cloud, model and key; why it could not be written, or None."""
        try:
            with self._opened().begin() as connection:
                for row in rows:
                    adding = insert(cloud_spending).values(vars(row))
                    sums = {name: cloud_spending.c[name] + adding.excluded[name] for name in _SUMS}
                    connection.execute(
                        adding.on_conflict_do_update(["day", "cloud", "model_id", "consumer"], set_=sums)
                    )
                newest = max((row.day for row in rows), default="")
                oldest = func.date(newest, f"-{DAYS_KEPT} days")
                connection.execute(delete(cloud_spending).where(cloud_spending.c.day < oldest))
        except (CannotOpen, DatabaseError) as error:
            self.close()
            return f"cannot keep what was spent at clouds: {error}"
        return None

    def close(self) -> None:
        """Lets go of the file; the next call opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _opened(self) -> Engine:
        if self._engine is None:
            self._engine = open_database(self._path).engine
        return self._engine

"""What is read from and written to the tables, as typed functions over one connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Dialect, delete, func, insert, select
from sqlalchemy.sql.compiler import SQLCompiler

from roost.store.schema import activity
from roost.store.types import ActivityRow

_ROW_COLUMNS = [activity.c[name] for name in ActivityRow._fields]


@dataclass(frozen=True)
class Retention:
    """How much activity is kept: so many rows at most, none older than so many seconds."""

    max_rows: int = 100_000
    max_age_s: float = 30 * 86_400.0


def insert_activity(connection: Connection, rows: Sequence[ActivityRow]) -> None:
    """Append the rows, oldest first."""
    if rows:
        text, values_of = _insertion(connection.dialect)
        connection.exec_driver_sql(text, [values_of(row) for row in rows])


@lru_cache(maxsize=4)
def _insertion(dialect: Dialect) -> tuple[str, Callable[[ActivityRow], tuple[Any, ...]]]:
    """The statement, and a row's values in its order. Compiled once: bound anew for each row it takes four times as
    long, beside the requests that are being served."""
    compiled = insert(activity).compile(dialect=dialect, column_keys=list(ActivityRow._fields))
    assert isinstance(compiled, SQLCompiler) and compiled.positiontup is not None
    return compiled.string, attrgetter(*compiled.positiontup)


def newest_activity(connection: Connection, limit: int) -> list[ActivityRow]:
    """The last rows written, oldest first."""
    statement = select(*_ROW_COLUMNS).order_by(activity.c.number.desc()).limit(limit)
    return [ActivityRow(**row._mapping) for row in connection.execute(statement)][::-1]


def prune_activity(connection: Connection, retention: Retention, now: float) -> int:
    """Delete what is too old or too much; returns how many rows went. `now` is unix time."""
    too_old = connection.execute(delete(activity).where(activity.c.at < now - retention.max_age_s)).rowcount
    newest = connection.scalar(select(func.max(activity.c.number))) or 0
    too_many = connection.execute(delete(activity).where(activity.c.number <= newest - retention.max_rows)).rowcount
    return too_old + too_many

"""The tables, and the way from any older database to them. Migrations run forward only, each in a transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Boolean, Column, Connection, Float, Integer, MetaData, String, Table, func, insert, select

metadata = MetaData()

#: One row an applied migration; the largest number is the database's version.
schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
)

#: One row a request: the fields of `types.ActivityRow` and a number that orders them.
activity = Table(
    "activity",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("request_id", String, nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("method", String, nullable=False),
    Column("route", String, nullable=False),
    Column("requested", String),
    Column("resolved", String),
    Column("node", String, nullable=False),
    Column("worker_id", String),
    Column("worker_pid", Integer),
    Column("route_reason", String),
    Column("status", Integer, nullable=False),
    Column("code", String),
    Column("stream", Boolean, nullable=False),
    Column("ttft_s", Float),
    Column("duration_s", Float, nullable=False),
    Column("queued_s", Float),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cached_tokens", Integer),
    Column("bytes_in", Integer, nullable=False),
    Column("bytes_out", Integer, nullable=False),
    Column("finish_reason", String),
    Column("consumer", String),
    Column("cause", String),
    Column("retry_count", Integer),
)


#: One row a way of starting: the fields of `peaks.PeakRow`.
learned_peaks = Table(
    "learned_peaks",
    metadata,
    Column("key", String, primary_key=True),
    Column("model_id", String, nullable=False),
    Column("host_bytes", Integer, nullable=False),
    Column("gpu_bytes", Integer, nullable=False),
    Column("clean_runs", Integer, nullable=False),
    Column("fill", Float, nullable=False),
    Column("at_least_bytes", Integer, nullable=False),
    Column("seen_at", Float, nullable=False, index=True),
)

#: One row a day, cloud, model and key: the fields of `spending.SpendingRow`.
cloud_spending = Table(
    "cloud_spending",
    metadata,
    Column("day", String, primary_key=True),
    Column("cloud", String, primary_key=True),
    Column("model_id", String, primary_key=True),
    Column("consumer", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("usd", Float, nullable=False),
)


@dataclass(frozen=True)
class Migration:
    """One step forward. Once released it never changes: a later step alters what it made."""

    version: int
    name: str
    apply: Callable[[Connection], None]


MIGRATIONS = (
    Migration(1, "activity of requests", activity.create),
    Migration(2, "peaks of memory", learned_peaks.create),
    Migration(3, "spending at clouds", cloud_spending.create),
)

#: What this roost writes; a database beyond it belongs to a newer one.
NEWEST_VERSION = MIGRATIONS[-1].version


def current_version(connection: Connection) -> int:
    """The version of the opened database; 0 for an empty one."""
    schema_version.create(connection, checkfirst=True)
    return connection.scalar(select(func.max(schema_version.c.version))) or 0


def migrate(connection: Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> int:
    """Apply what is missing inside the caller's transaction; returns how many steps it took."""
    version = current_version(connection)
    missing = [migration for migration in migrations if migration.version > version]
    for migration in missing:
        migration.apply(connection)
        connection.execute(insert(schema_version).values(version=migration.version, name=migration.name))
    return len(missing)

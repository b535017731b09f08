"""The one SQLite file of a node: opened, checked, migrated; a damaged one is moved aside and never thrown away.

Every function here blocks: call it from a thread of its own, never from the event loop.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from roost.store.schema import MIGRATIONS, NEWEST_VERSION, Migration, current_version, migrate

#: The file may not grow beyond this: whatever goes wrong with pruning, it never fills the disk. In bytes.
LARGEST_DATABASE_BYTES = 512 * 2**20
_PAGE_BYTES = 4096
#: How long a statement waits for another process's lock.
_BUSY_TIMEOUT_MS = 1000
#: SQLite's primary result codes that mean damage, not circumstance.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class CannotOpen(Exception):
    """The database cannot be used now; the message says why and what to do."""


@dataclass(frozen=True)
class Opened:
    """A usable database. `problem` tells what happened to the one before, None when nothing did."""

    engine: Engine
    problem: str | None = None


def open_database(
    path: Path, *, largest_bytes: int = LARGEST_DATABASE_BYTES, migrations: tuple[Migration, ...] = MIGRATIONS
) -> Opened:
    """Open or create the file (0600) and bring it to the newest version.

    A damaged file is moved aside, named in `problem`, and a new one started. Raises CannotOpen when the folder cannot
    be written, the disk is full, the file is locked, or a newer roost wrote it.
    """
    try:
        return Opened(_open(path, largest_bytes, migrations))
    except DatabaseError as error:
        if not is_damage(error):
            raise CannotOpen(f"cannot open {path}: {error.orig}") from error
    except OSError as error:
        raise CannotOpen(f"cannot open {path}: {error.strerror or error}") from error
    aside = move_aside(path)
    problem = f"{path} was damaged; it is kept as {aside} and a new one was started, activity before now is only there"
    try:
        return Opened(_open(path, largest_bytes, migrations), problem)
    except (DatabaseError, OSError) as error:
        raise CannotOpen(f"{problem}; that cannot be opened either: {error}") from error


def _open(path: Path, largest_bytes: int, migrations: tuple[Migration, ...]) -> Engine:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _pragmas(largest_bytes // _PAGE_BYTES))
    try:
        with engine.begin() as connection:
            _check(connection, path, migrations)
            migrate(connection, migrations)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _pragmas(max_pages: int) -> Callable[[sqlite3.Connection, object], None]:
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL loses at most the last batch at a power cut and never damages the file.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA max_page_count={max_pages}")

    return set_pragmas


def _check(connection: Connection, path: Path, migrations: tuple[Migration, ...]) -> None:
    """Raises DatabaseError for damage, CannotOpen for a file from the future."""
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        damage = sqlite3.DatabaseError(str(verdict))
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise DatabaseError("PRAGMA quick_check", None, damage)
    newest = migrations[-1].version if migrations else NEWEST_VERSION
    if (version := current_version(connection)) > newest:
        raise CannotOpen(
            f"cannot open {path}: its schema is version {version} and this roost knows {newest}; "
            "run the newer roost, or move the file away"
        )


def is_damage(error: DatabaseError) -> bool:
    """Whether the file itself is bad, rather than locked, full or out of reach."""
    return result_code(error) in _DAMAGE


def is_full(error: DatabaseError) -> bool:
    """Whether the disk, or the size that the file may have, is used up."""
    return result_code(error) == sqlite3.SQLITE_FULL


def result_code(error: DatabaseError) -> int:
    """SQLite's primary result code; -1 when the driver gave none."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def move_aside(path: Path) -> Path:
    """Rename the database and its journals to a name that is free; returns where the database went."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside, attempt = path.with_name(f"{path.name}.damaged-{stamp}"), 1
    while aside.exists():
        attempt += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{attempt}")
    for suffix in ("-wal", "-shm", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside

"""Opening a real file: new, old, damaged, locked, full, from the future."""

import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from roost.store.database import CannotOpen, is_full, move_aside, open_database
from roost.store.queries import Retention, insert_activity, newest_activity, prune_activity
from roost.store.schema import NEWEST_VERSION
from tests.helpers import activity_row


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "roost.sqlite"


def rows_of(path):
    opened = open_database(path)
    with opened.engine.connect() as connection:
        rows = newest_activity(connection, 1000)
    opened.engine.dispose()
    return rows


def write(path, rows, **options):
    opened = open_database(path, **options)
    try:
        with opened.engine.begin() as connection:
            insert_activity(connection, rows)
    finally:
        opened.engine.dispose()


def test_a_new_database_is_private_and_in_wal_mode(path):
    opened = open_database(path)
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    opened.engine.dispose()
    assert opened.problem is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_written_is_read_back_equal(path):
    rows = [activity_row(0), activity_row(1)._replace(code="model_not_found", status=404, ttft_s=None, stream=True)]
    write(path, rows)
    assert rows_of(path) == rows


@pytest.mark.parametrize("content", [b"this is no database" * 400, b"SQLite format 3\x00" + b"\x07" * 9000])
def test_a_file_that_is_no_database_is_kept_aside_and_named(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    opened = open_database(path)
    opened.engine.dispose()
    (aside,) = path.parent.glob("roost.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert str(aside) in opened.problem


def test_a_damaged_page_is_found_at_opening_and_nothing_is_lost(path):
    write(path, [activity_row(number) for number in range(500)])
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 7 * 4096] = b"\xaa" * 8192
    path.write_bytes(content)
    opened = open_database(path)
    opened.engine.dispose()
    (aside,) = path.parent.glob("roost.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert rows_of(path) == []


def test_two_damaged_databases_of_one_second_get_two_names(path):
    path.parent.mkdir()
    names = set()
    for content in ("one", "two"):
        path.write_text(content)
        names.add(move_aside(path))
    assert sorted(name.read_text() for name in names) == ["one", "two"]


def test_a_database_of_a_newer_roost_is_refused_and_left_alone(path):
    write(path, [activity_row(0)])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 'from the future')", (NEWEST_VERSION + 6,))
    connection.close()
    with pytest.raises(CannotOpen, match=rf"version {NEWEST_VERSION + 6} and this roost knows {NEWEST_VERSION}"):
        open_database(path)
    assert path.exists()
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_locked_database_is_not_taken_for_a_damaged_one(path):
    write(path, [activity_row(0)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CannotOpen, match="locked"):
        open_database(path)
    other.close()
    assert rows_of(path) == [activity_row(0)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotOpen, match=r"file/roost\.sqlite"):
        open_database(tmp_path / "file" / "roost.sqlite")


def test_the_file_never_grows_beyond_its_largest_size(path):
    opened = open_database(path, largest_bytes=64 * 1024)
    rows = [activity_row(number) for number in range(2000)]
    with pytest.raises(DatabaseError) as raised, opened.engine.begin() as connection:
        insert_activity(connection, rows)
    assert is_full(raised.value)
    opened.engine.dispose()
    assert path.stat().st_size <= 64 * 1024


def test_pruning_keeps_the_newest_rows_and_drops_the_old(path):
    opened = open_database(path)
    with opened.engine.begin() as connection:
        insert_activity(connection, [activity_row(number)._replace(at=float(number)) for number in range(100)])
        assert prune_activity(connection, Retention(max_rows=1000, max_age_s=50), now=120.0) == 70
        assert prune_activity(connection, Retention(max_rows=10, max_age_s=1e9), now=120.0) == 20
        assert [row.at for row in newest_activity(connection, 100)] == [float(number) for number in range(90, 100)]
        assert connection.execute(text("SELECT count(*) FROM activity")).scalar() == 10
    opened.engine.dispose()

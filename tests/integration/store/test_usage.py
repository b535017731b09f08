"""What each consumer has asked, from a real log."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert

from roost.store.database import open_database
from roost.store.schema import activity
from roost.store.usage import Usage, usage_by_consumer
from tests.helpers import activity_row


def test_requests_and_tokens_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a folder?" / "roost.sqlite"
    rows = [
        activity_row(1)._replace(consumer="ci"),
        activity_row(7)._replace(consumer="ci", status=429, prompt_tokens=None, completion_tokens=None),
        activity_row(3)._replace(consumer="laptop"),
        activity_row(4),
    ]
    engine = open_database(path).engine
    with engine.begin() as connection:
        connection.execute(insert(activity), [row._asdict() for row in rows])
    engine.dispose()
    assert usage_by_consumer(path) == {
        "ci": Usage(2, 1, 12, 5, activity_row(7).at),
        "laptop": Usage(1, 0, 12, 5, activity_row(3).at),
    }


def test_no_log_an_empty_one_and_one_that_is_none_are_no_use_and_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "roost.sqlite"
    assert usage_by_consumer(path) == {} and not path.exists()
    for content in (b"", b"no database" * 100):
        path.write_bytes(content)
        assert usage_by_consumer(path) == {}
        assert path.read_bytes() == content

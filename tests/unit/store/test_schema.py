"""The tables against the values that go into them."""

import pytest
from sqlalchemy import create_engine, inspect, text

from roost.store.schema import MIGRATIONS, NEWEST_VERSION, Migration, activity, current_version, migrate
from roost.store.types import ActivityRow


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_activity_table_has_a_column_for_each_field_of_a_row():
    assert [column.name for column in activity.columns] == ["number", *ActivityRow._fields]


def test_an_empty_database_is_brought_to_the_newest_version(connection):
    assert migrate(connection) == len(MIGRATIONS)
    assert current_version(connection) == NEWEST_VERSION
    assert set(inspect(connection).get_table_names()) == {
        "activity",
        "cloud_spending",
        "learned_peaks",
        "schema_version",
    }


def test_a_second_run_changes_nothing(connection):
    migrate(connection)
    assert migrate(connection) == 0


def test_only_missing_steps_run(connection):
    migrate(connection)

    def widen(connection):
        connection.execute(text("ALTER TABLE activity ADD COLUMN later TEXT"))

    later = Migration(NEWEST_VERSION + 1, "a column more", widen)
    assert migrate(connection, (*MIGRATIONS, later)) == 1
    assert "later" in {column["name"] for column in inspect(connection).get_columns("activity")}
    assert current_version(connection) == NEWEST_VERSION + 1


def test_versions_are_numbered_from_one_without_gaps():
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))

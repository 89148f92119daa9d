"""The migrations make exactly the tables that the stores use, on both databases."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy.exc
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import fleet_server
from fleet_server.storage import Database, StorageUnavailable, metadata
from fleet_server.storage.schema import SchemaTooNew, alembic_config, current_revision, newest_revision, open_database, upgrade


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'fleet.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    database = open_database(url)
    yield database
    database.close()


def test_migrated_schema_is_what_the_stores_use(database: Database) -> None:
    for module in pkgutil.walk_packages(fleet_server.__path__, "fleet_server."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def test_the_newest_revision_is_the_one_that_alembic_goes_to(database: Database) -> None:
    assert newest_revision() == ScriptDirectory.from_config(alembic_config(database)).get_current_head()
    assert current_revision(database) == newest_revision()


def test_upgrading_again_changes_nothing(database: Database) -> None:
    def shape() -> dict[str, list[str]]:
        seen = inspect(database.engine)
        return {table: [column["name"] for column in seen.get_columns(table)] for table in seen.get_table_names()}

    before = shape()
    upgrade(database)
    assert before
    assert shape() == before
    assert current_revision(database) == newest_revision()


def test_database_of_a_later_version_is_left_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(SchemaTooNew, match="later"):
        upgrade(database)


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
def test_the_database_itself_keeps_the_audit_trail(database: Database, change: str) -> None:
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO audit (at_ms, actor, action, subject, unit_path, data) VALUES (1, 'a', 'b', 'c', '/', '{}')"),
        )
    with pytest.raises((sqlalchemy.exc.DBAPIError, StorageUnavailable), match="append-only"), database.write() as connection:
        connection.execute(text(change))

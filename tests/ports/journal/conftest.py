"""The journal over each database; `tests/conftest.py` provides `postgres_url`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_server.ingest.journal import Journal
from fleet_server.storage import Database, metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'fleet.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    database = Database(url)
    database.create_all()
    yield database
    if not database.is_sqlite:
        metadata.drop_all(database.engine)
    database.close()


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)

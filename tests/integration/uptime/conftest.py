from collections.abc import Iterator
from pathlib import Path

import pytest

import fleet_server.presence.store
import fleet_server.scoring.store
import fleet_server.storage.changes
import fleet_server.uptime.store  # noqa: F401  # tables register themselves
from fleet_server.storage import Database
from tests.integration.uptime.world import World


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/fleet.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.create_all()
    yield database
    database.close()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)

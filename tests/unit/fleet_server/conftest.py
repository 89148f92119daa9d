"""A clock that tests hold, and a database of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_server.storage import Database

NOW_MS = 1_795_485_600_000


class HeldClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.wall_ms = NOW_MS
        self.elapsed_ms = 0

    def now_ms(self) -> int:
        return self.wall_ms

    def mono_s(self) -> float:
        return self.elapsed_ms / 1000

    def advance(self, ms: int) -> None:
        self.wall_ms += ms
        self.elapsed_ms += ms


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once of each kind."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    database = Database(url)
    database.create_all()
    yield database
    database.close()

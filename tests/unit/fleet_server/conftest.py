"""A clock that tests hold, a database of each kind, and an API behind the guard."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from fleet_server import problems
from fleet_server.access.guard import Guard
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access
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


class Api:
    """Serves one room's routes to callers of any role and scope."""

    def __init__(self, database: Database, clock: HeldClock) -> None:
        self._access = Access(database, clock)
        self._names = count(1)

    def client(self, routes: Callable[[Guard], APIRouter], role: Role = Role.ADMINISTRATOR, unit_path: str = "/") -> httpx.AsyncClient:
        """Return a client that speaks with a token of that role and scope."""
        app = FastAPI()
        problems.install(app)
        app.include_router(routes(Guard(self._access)), prefix="/api/v1")
        assert app.openapi()["paths"]
        secret = self._access.create_token(f"client-{next(self._names)}", role, Scope(unit_path), by=Principal.LOCAL)
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet/api/v1", headers=headers)


@pytest.fixture
def api(database: Database, clock: HeldClock) -> Api:
    return Api(database, clock)

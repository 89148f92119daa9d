"""Accounts with cheap hashing, and a small app behind the guard."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import Depends, FastAPI

from fleet_server import problems
from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal, Role
from fleet_server.access.routes import router
from fleet_server.access.service import Access
from fleet_server.storage import Database

PASSWORD = "ถูกต้อง ม้า แบตเตอรี่ 42"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def access(database: Database, clock: Any) -> Access:
    return Access(database, clock, hasher=CHEAP)


Person = Callable[..., Principal]


@pytest.fixture
def person(access: Access) -> Person:
    """Make an account with a password, sign it in, return who it is."""

    def make(user: str = "somchai", role: Role = Role.ADMINISTRATOR, unit_path: str = "/") -> Principal:
        access.use_link(access.create_account(user, role, unit_path, by=Principal.LOCAL).secret, PASSWORD)
        return access.principal_of_session(access.log_in(user, PASSWORD, address="test"))

    return make


@pytest.fixture
def app(access: Access) -> FastAPI:
    app = FastAPI()
    problems.install(app)
    guard = Guard(access, public_url="https://fleet.example")
    app.include_router(router(access, guard), prefix="/api/v1")

    @app.post("/api/v1/registry")
    def edit(principal: Annotated[Principal, Depends(guard.allow(Permission.EDIT_REGISTRY))]) -> str:
        return principal.actor

    return app


@pytest.fixture
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://fleet.example") as client:
        yield client

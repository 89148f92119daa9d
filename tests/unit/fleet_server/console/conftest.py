"""A console over a small fleet in memory."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from fleet_server import problems
from fleet_server.console.routes import install
from tests.unit.fleet_server.console.fakes import FakeWorld


def browser(world: FakeWorld, *, is_demo: bool, has_panel: bool) -> httpx.AsyncClient:
    app = FastAPI()
    problems.install(app)
    install(app, world.services(is_demo=is_demo, has_panel=has_panel))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet", headers={"accept": "text/html"})


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
async def demo(world: FakeWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A browser before the open demo."""
    async with browser(world, is_demo=True, has_panel=True) as client:
        yield client


@pytest.fixture
async def real(world: FakeWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A browser before a real fleet, nobody logged in."""
    async with browser(world, is_demo=False, has_panel=False) as client:
        yield client

"""A console that really listens, before a real browser."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from fleet_server import problems
from fleet_server.console.routes import install
from tests.servers.chromium import Chromium
from tests.unit.fleet_server.console.fakes import FakeWorld

TICK_S = 0.3
BOUND_S = 20


class ConsoleServer:
    """The console over a small fleet, served from a thread until it is stopped."""

    def __init__(self, world: FakeWorld, *, is_demo: bool, port: int = 0) -> None:
        app = FastAPI()
        problems.install(app)
        self._close = install(app, world.services(is_demo=is_demo, has_panel=is_demo), tick_s=TICK_S)
        self.world = world
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen()  # connections wait until the server takes them
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop for good, streams too; the port is free again afterwards."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._close)
        self._server.should_exit = True
        self._thread.join(BOUND_S)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def demo(world: FakeWorld) -> Iterator[ConsoleServer]:
    """The open demo."""
    server = ConsoleServer(world, is_demo=True)
    yield server
    server.stop()


@pytest.fixture
def real(world: FakeWorld) -> Iterator[ConsoleServer]:
    """A real fleet: nothing without a login."""
    server = ConsoleServer(world, is_demo=False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(chromium: Chromium) -> Iterator[Browser]:
    """One browser for the tests of a file; each opens contexts of its own.

    Not for the whole session: while it is open, this thread has a running event loop, and no asynchronous test can run.
    """
    with sync_playwright() as playwright:
        options: dict[str, Any] = chromium.launch_options
        running = playwright.chromium.launch(**options)
        yield running
        running.close()

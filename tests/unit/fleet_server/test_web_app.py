"""The web application as it is wired: what no room can see by itself."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from fleet_server.access.model import Principal, Role, Scope
from fleet_server.ingest.mqtt import BrokerAddress
from fleet_server.installation.making import make
from fleet_server.installation.plan import Plan
from fleet_server.main import Rooms, build, web_app
from fleet_server.registry.routes import MAX_FILE_BYTES
from fleet_server.settings import database_url, load_settings
from fleet_server.storage.schema import open_database


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "fleet"
    make(Plan(data=folder, organisation="Test", host="127.0.0.1", http_port=8080, est_port=8443, mqtt_port=8883))
    return folder


@pytest.fixture
async def rooms(data: Path) -> AsyncIterator[Rooms]:
    settings = load_settings(data / "fleet.toml")
    database = open_database(database_url(settings, data))
    nowhere = BrokerAddress(host="127.0.0.1", port=1, ca_file=data / "ca", certificate_file=data / "c", key_file=data / "k")
    yield build(settings, data, database, broker=nowhere)
    database.close()


@pytest.fixture
def app(rooms: Rooms) -> Iterator[FastAPI]:
    app = web_app(rooms)
    yield app
    app.state.end_feeds()


@pytest.fixture
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is not signed in."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        yield client


def bearer(rooms: Rooms, role: Role = Role.ADMINISTRATOR) -> dict[str, str]:
    """Return the proof of somebody who may do what that role may, everywhere."""
    names = {token.name for token in rooms.access.tokens(Scope.ALL)}
    secret = rooms.access.create_token(f"test-{len(names)}", role, Scope.ALL, by=Principal.LOCAL)
    return {"Authorization": f"Bearer {secret}"}


FOR_STRANGERS = {("POST", "/api/v1/sessions"), ("DELETE", "/api/v1/sessions/current"), ("POST", "/api/v1/links:use")}
"""Signing in and out, and a link that is itself the proof; `/healthz`, `/readyz` and `/metrics` are for who runs the server."""


def acts(app: FastAPI) -> list[tuple[str, str]]:
    """Return method and address of all that the API can do, with `x` for each name."""
    found = [(method.upper(), re.sub(r"{[^}]*}", "x", path)) for path, methods in app.openapi()["paths"].items() for method in methods]
    return [act for act in found if act[1].startswith("/api/") and act not in FOR_STRANGERS]


async def test_strangers_get_nothing_of_the_api(app: FastAPI, web: httpx.AsyncClient) -> None:
    answers = {act: (await web.request(*act)).status_code for act in acts(app)}
    assert len(answers) > 40
    assert set(answers.values()) == {401}, answers


async def test_who_may_only_look_changes_nothing(app: FastAPI, web: httpx.AsyncClient, rooms: Rooms) -> None:
    proof = bearer(rooms, Role.VENDOR)
    answers = {act: (await web.request(*act, headers=proof)).status_code for act in acts(app) if act[0] != "GET"}
    assert len(answers) > 15
    assert set(answers.values()) == {403}, answers


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/v1/nowhere", "/healthz", "/login", "/assets/x/console.css"])
async def test_every_answer_carries_the_headers_that_guard_browsers(web: httpx.AsyncClient, path: str) -> None:
    headers = (await web.get(path, headers={"Accept": "text/html"})).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/links:use", "/login", "/setup/x"])
async def test_strangers_cannot_send_without_end(web: httpx.AsyncClient, path: str) -> None:
    kind = "application/json" if path.startswith("/api") else "application/x-www-form-urlencoded"
    answer = await web.post(path, content=b"a" * 70_000, headers={"Content-Type": kind})
    assert answer.status_code == 413


async def test_import_takes_a_file_but_not_any(web: httpx.AsyncClient, rooms: Rooms) -> None:
    head = b"code,parent,level,name_th\n"
    taken = await web.post("/api/v1/imports/units", content=head + b"\n" * 70_000, headers=bearer(rooms))
    assert (taken.status_code, taken.json()["rows"]) == (200, 0)
    too_large = await web.post("/api/v1/imports/units", content=b"x" * (MAX_FILE_BYTES + 1), headers=bearer(rooms))
    assert too_large.status_code == 413

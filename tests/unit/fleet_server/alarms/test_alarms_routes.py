"""Presses over HTTP."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from fleet_server.access.model import Role
from fleet_server.alarms.routes import router
from fleet_server.alarms.service import Alarms

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # SQL has its tests beside; here it is HTTP

UNIT = "/bpp/n1/lumpini/"


@pytest.fixture
async def desk(alarms: Alarms, api: Any, clock: Any) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Return clients by role and unit."""
    clients: list[httpx.AsyncClient] = []

    def client(role: Role = Role.CCOC_OPERATOR, unit_path: str = UNIT) -> httpx.AsyncClient:
        made: httpx.AsyncClient = api.client(lambda guard: router(alarms, guard, clock), role, unit_path)
        clients.append(made)
        return made

    yield client
    for made in clients:
        await made.aclose()


Desk = Callable[..., httpx.AsyncClient]


async def test_press_is_shown_with_place_and_age(desk: Desk, wire: Any, caught_up: Any, clock: Any) -> None:
    number = wire.event(ago_ms=150)
    caught_up()
    clock.advance(4_000)
    (press,) = (await desk().get("/presses", params={"state": "open"})).json()["items"]
    shown = (press["event_id"], press["position_code"], press["label_th"], press["latency_ms"], press["age_ms"], press["is_drill"])
    assert shown == (number, "LMP-BTN", "ปุ่มเสา 12", 150, 4_150, False)
    assert (await desk().get(f"/presses/{number}")).json() == press


async def test_first_one_has_it(desk: Desk, wire: Any, caught_up: Any) -> None:
    number = wire.event()
    caught_up()
    one, other = desk(), desk()
    taken = await one.post(f"/presses/{number}:acknowledge", json={"expected_version": 1})
    assert (taken.status_code, taken.json()["state"], taken.json()["acknowledged_by"]) == (200, "acknowledged", "token:client-1")
    refused = await other.post(f"/presses/{number}:acknowledge")
    assert (refused.status_code, refused.json()["detail"]) == (409, "This press was already acknowledged by token:client-1.")
    assert (await other.post(f"/presses/{number}:close")).json()["state"] == "closed"


async def test_scope_and_roles(desk: Desk, wire: Any, caught_up: Any) -> None:
    number = wire.event()
    caught_up()
    stranger = desk(Role.CCOC_OPERATOR, "/bpp/n1/dusit/")
    assert (await stranger.get("/presses")).json()["items"] == []
    assert (await stranger.get(f"/presses/{number}")).status_code == 404
    assert (await stranger.post(f"/presses/{number}:acknowledge")).status_code == 404
    assert (await desk(Role.AUDITOR).post(f"/presses/{number}:acknowledge")).status_code == 403


@pytest.mark.parametrize("number", ["x", "%00", "a:b:c"])
async def test_no_such_press(desk: Desk, number: str) -> None:
    client = desk()
    assert (await client.get(f"/presses/{number}")).status_code == 404
    assert (await client.post(f"/presses/{number}:acknowledge", json={})).status_code == 404


async def test_pages(desk: Desk, wire: Any, caught_up: Any) -> None:
    numbers = [wire.event(is_drill=bool(n % 2)) for n in range(3)]
    caught_up()
    client = desk()
    first = (await client.get("/presses", params={"limit": 2})).json()
    second = (await client.get("/presses", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [press["event_id"] for press in first["items"] + second["items"]] == numbers[::-1]
    assert second["next_cursor"] is None
    drills = (await client.get("/presses", params={"is_drill": True})).json()["items"]
    assert [press["event_id"] for press in drills] == [numbers[1]]

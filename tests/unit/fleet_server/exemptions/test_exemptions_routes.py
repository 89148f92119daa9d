"""The API of exemptions: who may, what is refused, and what is shown."""

from typing import Any

import httpx
import pytest

from fleet_server.access.model import Role
from fleet_server.exemptions.routes import router
from fleet_server.storage import Database
from tests.integration.uptime.world import STATION, T0, World

EXCUSE = {"kind": "excused", "from_ms": T0, "to_ms": T0 + 5_000, "reason": "power\ncut", "document": "MEA 12/34"}


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.add_node()
    world.add_position("CAM-A")
    world.clock.at_ms = T0 + 10_000
    return world


def client(api: Any, world: World, role: Role = Role.STATION_CHIEF, unit_path: str = STATION) -> httpx.AsyncClient:
    made: httpx.AsyncClient = api.client(lambda guard: router(world.exemptions, guard), role, unit_path)
    return made


async def test_one_is_declared_listed_moved_and_withdrawn(api: Any, world: World) -> None:
    async with client(api, world) as chief:
        made = await chief.post("/positions/CAM-A/exemptions", json=EXCUSE)
        assert made.status_code == 201, made.text
        assert made.json() == EXCUSE | {
            "id": made.json()["id"],
            "position_id": next(iter(world.positions)),
            "author": "token:client-1",
            "created_at_ms": T0 + 10_000,
        }
        moved = await chief.post(f"/exemptions/{made.json()['id']}/end", json={"to_ms": T0 + 9_000})
        assert moved.status_code == 201, moved.text
        assert moved.json()["to_ms"] == T0 + 9_000
        assert (await chief.get("/positions/CAM-A/exemptions")).json() == [moved.json()]
        assert (await chief.delete(f"/exemptions/{made.json()['id']}")).status_code == 404
        assert (await chief.delete(f"/exemptions/{moved.json()['id']}")).status_code == 204
        assert (await chief.get("/positions/CAM-A/exemptions")).json() == []


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.ADMINISTRATOR, Role.STATION_CHIEF)])
async def test_who_may_only_look_declares_nothing(api: Any, world: World, role: Role) -> None:
    async with client(api, world, role) as viewer:
        assert (await viewer.post("/positions/CAM-A/exemptions", json=EXCUSE)).status_code == 403
        assert (await viewer.post("/exemptions/1/end", json={"to_ms": T0})).status_code == 403
        assert (await viewer.delete("/exemptions/1")).status_code == 403
        assert (await viewer.get("/positions/CAM-A/exemptions")).json() == []


async def test_outside_the_unit_there_is_no_such_position(api: Any, world: World) -> None:
    async with client(api, world, unit_path="/bpp/n2/") as stranger:
        assert (await stranger.post("/positions/CAM-A/exemptions", json=EXCUSE)).status_code == 404
        assert (await stranger.get("/positions/CAM-A/exemptions")).status_code == 404


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**30, "x"])
async def test_a_number_that_no_exemption_has_is_refused(api: Any, world: World, number: object) -> None:
    async with client(api, world) as chief:
        assert (await chief.delete(f"/exemptions/{number}")).status_code in (400, 422)
        assert (await chief.post(f"/exemptions/{number}/end", json={"to_ms": T0})).status_code in (400, 422)


@pytest.mark.parametrize(
    "fault",
    [
        {"to_ms": -1},
        {"kind": "working"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"reason": "a\0b"},
        {"document": "a\0b"},
        {"stranger": 1},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(api: Any, world: World, fault: dict[str, object]) -> None:
    async with client(api, world) as chief:
        assert (await chief.post("/positions/CAM-A/exemptions", json=EXCUSE | fault)).status_code in (400, 422)
        assert (await chief.get("/positions/CAM-A/exemptions")).json() == []

"""Commands over HTTP."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from fleet_server.access.model import Role
from fleet_server.commands.courier import Courier
from fleet_server.commands.routes import router
from fleet_server.commands.service import Commands

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # SQL has its tests beside; here it is HTTP

LIGHT = {"position": "LAMP", "action": "lamp.override", "args": {"level_percent": 100}, "expires_in_s": 30}


@pytest.fixture
async def technician(commands: Commands, api: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(partial(router, commands), Role.TECHNICIAN, "/bpp/n1/lumpini/") as client:
        yield client


async def test_from_issue_to_proof(technician: httpx.AsyncClient, courier: Courier, wire: Any) -> None:
    issued = await technician.post("/commands", json=LIGHT)
    assert (issued.status_code, issued.json()["state"], issued.json()["args"]) == (202, "issued", {"level_percent": 100})
    number = issued.json()["id"]
    await courier.deliver()
    wire.result(number, measured={"power_w": 58.9}, message="lit")
    ended = (await technician.get(f"/commands/{number}")).json()
    assert (ended["state"], ended["measured"], ended["message"]) == ("succeeded", {"power_w": 58.9}, "lit")
    assert [row["id"] for row in (await technician.get("/commands", params={"position": "LAMP"})).json()["items"]] == [number]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"position": "NOPE"}, 404),
        ({"position": "CAM"}, 400),
        ({"position": "BARE"}, 409),
        ({"action": "explode"}, 422),
        ({"args": {}}, 400),
        ({"args": {"level_percent": 1000}}, 400),
        ({"expires_in_s": 0}, 422),
        ({"expires_in_s": 3601}, 422),
        ({"surprise": 1}, 422),
    ],
)
async def test_what_is_refused(technician: httpx.AsyncClient, change: dict[str, Any], status: int) -> None:
    assert (await technician.post("/commands", json=LIGHT | change)).status_code == status
    assert (await technician.get("/commands")).json()["items"] == []


async def test_scope_and_role(technician: httpx.AsyncClient, commands: Commands, api: Any) -> None:
    number = (await technician.post("/commands", json=LIGHT)).json()["id"]
    async with api.client(partial(router, commands), Role.TECHNICIAN, "/bpp/n1/dusit/") as stranger:
        assert (await stranger.get(f"/commands/{number}")).status_code == 404
        assert (await stranger.get("/commands")).json()["items"] == []
        assert (await stranger.post("/commands", json=LIGHT)).status_code == 404
    async with api.client(partial(router, commands), Role.VENDOR) as vendor:
        assert (await vendor.post("/commands", json=LIGHT)).status_code == 403
        assert (await vendor.get(f"/commands/{number}")).status_code == 200
    assert (await technician.get("/commands/%00")).status_code == 404

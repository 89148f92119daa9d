"""The registry over HTTP."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from fleet_server.access import audit
from fleet_server.access.model import Role, Scope
from fleet_server.registry.routes import router
from fleet_server.registry.service import Registry
from fleet_server.storage import Database

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # SQL has its tests beside; here it is HTTP

POSITION = "code,zone,station,kind,label_th,lat,lon\nX-1,LMP,lumpini,camera,กล้อง,13.73,100.54\n"


@pytest.fixture
async def admin(filled: Any, registry: Registry, api: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(partial(router, registry)) as client:
        yield client


@pytest.fixture
async def stranger(filled: Any, registry: Registry, api: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client(partial(router, registry), Role.TECHNICIAN, "/bpp/n1/dusit/") as client:
        yield client


async def test_lists(admin: httpx.AsyncClient) -> None:
    units = (await admin.get("/units")).json()["items"]
    assert [(unit["path"], unit["level"]) for unit in units][:2] == [("/bpp/", "command"), ("/bpp/n1/", "division")]
    (zone,) = (await admin.get("/zones")).json()["items"]
    assert (zone["code"], zone["stations"]) == ("LMP", ["/bpp/n1/lumpini/"])
    nodes = (await admin.get("/nodes")).json()["items"]
    assert [(node["serial"], node["is_simulated"]) for node in nodes] == [("SSZ-0001", False), ("SSZ-0002", True)]
    sensors = (await admin.get("/positions", params={"kind": "sensor", "unit": "/bpp/n1/lumpini/"})).json()["items"]
    assert [position["code"] for position in sensors] == ["LMP-AIR"]


@pytest.mark.parametrize(("path", "count"), [("units", 4), ("positions", 3), ("nodes", 2), ("zones", 1)])
async def test_pages_hold_everything_once(admin: httpx.AsyncClient, path: str, count: int) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = (await admin.get(f"/{path}", params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [str(item) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == count


async def test_position_with_its_hardware(admin: httpx.AsyncClient) -> None:
    position = (await admin.get("/positions/LMP-P12-CAM-A")).json()
    assert (position["label_th"], position["owner"], position["warranty_until"]) == ("กล้อง A เสา 12", "กทม.", "2028-09-30")
    assert [(i["channel"], i["to_ms"]) for i in position["installations"]] == [("cam-1", None)]


async def test_node_by_serial_with_what_it_serves(admin: httpx.AsyncClient) -> None:
    node = (await admin.get("/nodes/SSZ-0001")).json()
    assert node["channels"] == [
        {"channel": "btn-1", "position": "LMP-P12-BTN"},
        {"channel": "cam-1", "position": "LMP-P12-CAM-A"},
    ]
    assert (await admin.get(f"/nodes/{node['id']}")).json() == node


@pytest.mark.parametrize("path", ["positions/NOPE", "nodes/NOPE", "nodes/%00", "positions/%00"])
async def test_no_such_thing(admin: httpx.AsyncClient, path: str) -> None:
    answer = await admin.get(f"/{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_scope(stranger: httpx.AsyncClient) -> None:
    for path in ("zones", "positions", "nodes"):
        assert (await stranger.get(f"/{path}")).json()["items"] == []
    assert [unit["code"] for unit in (await stranger.get("/units")).json()["items"]] == ["dusit"]
    for path in ("positions/LMP-AIR", "nodes/SSZ-0001", "positions?unit=/bpp/n1/lumpini/"):
        assert (await stranger.get(f"/{path}")).status_code == 404
    assert (await stranger.get("/positions", params={"unit": "nonsense"})).status_code == 400
    assert (await stranger.post("/imports/positions", content=POSITION)).status_code == 403


async def test_node_is_made_known(admin: httpx.AsyncClient) -> None:
    body = {"serial": "SSZ-0003", "unit": "/bpp/n1/dusit/", "label": "ตู้ 3", "is_simulated": True}
    made = await admin.post("/nodes", json=body)
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/nodes/{made.json()['id']}"
    assert (await admin.get("/nodes/SSZ-0003")).json() == made.json()
    assert (made.json()["label"], made.json()["is_simulated"], made.json()["channels"]) == ("ตู้ 3", True, [])
    assert (await admin.post("/nodes", json=body)).status_code == 409


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"serial": "no spaces"}, 400),
        ({"serial": "SSZ_0003"}, 400),
        ({"serial": ""}, 422),
        ({"unit": "/bpp/n9/"}, 404),
        ({"label": "a\x00b"}, 422),
        ({"colour": "red"}, 422),
        ({"is_simulated": None}, 422),
    ],
)
async def test_node_that_cannot_be(admin: httpx.AsyncClient, change: dict[str, Any], status: int) -> None:
    answer = await admin.post("/nodes", json={"serial": "SSZ-0003", "unit": "/bpp/n1/dusit/", **change})
    assert answer.status_code == status, answer.text
    assert [node["serial"] for node in (await admin.get("/nodes")).json()["items"]] == ["SSZ-0001", "SSZ-0002"]


async def test_first_hardware_commissions_a_position(admin: httpx.AsyncClient, clock: Any) -> None:
    body = {"node": "SSZ-0002", "channel": "air-1", "device_serial": "PM-77", "device_model": "XY"}
    served = (await admin.post("/positions/LMP-AIR:install", json=body)).json()
    assert served["commissioned_at_ms"] == clock.now_ms()
    assert [(i["channel"], i["device_serial"], i["to_ms"]) for i in served["installations"]] == [("air-1", "PM-77", None)]
    assert (await admin.get("/positions/LMP-AIR")).json() == served


async def test_swap_keeps_the_history(admin: httpx.AsyncClient, clock: Any) -> None:
    before = (await admin.get("/positions/LMP-P12-CAM-A")).json()
    clock.advance(60_000)
    after = (await admin.post("/positions/LMP-P12-CAM-A:install", json={"node": "SSZ-0002", "channel": "cam-9"})).json()
    assert after["commissioned_at_ms"] == before["commissioned_at_ms"]
    assert [(i["channel"], i["to_ms"]) for i in after["installations"]] == [("cam-1", clock.now_ms()), ("cam-9", None)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("positions/NOPE:install", {"node": "SSZ-0002", "channel": "x"}, 404),
        ("positions/LMP-AIR:install", {"node": "NOPE", "channel": "x"}, 404),
        ("positions/LMP-AIR:install", {"node": "SSZ-0001", "channel": "cam-1"}, 409),
        ("positions/LMP-AIR:install", {"node": "SSZ-0001", "channel": "Not/One"}, 422),
        ("positions/LMP-AIR:install", {"node": "SSZ-0001"}, 422),
        ("positions/LMP-AIR:install", {"node": "SSZ-0001", "channel": "x", "device_model": "a\nb"}, 422),
        ("positions/NOPE:retire", {}, 404),
    ],
)
async def test_hardware_that_cannot_be(admin: httpx.AsyncClient, path: str, body: dict[str, Any], status: int) -> None:
    answer = await admin.post(f"/{path}", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert (await admin.get("/positions/LMP-AIR")).json()["installations"] == []


async def test_retired_for_ever(admin: httpx.AsyncClient, clock: Any) -> None:
    retired = (await admin.post("/positions/LMP-P12-CAM-A:retire")).json()
    assert retired["retired_at_ms"] == clock.now_ms()
    assert [i["to_ms"] for i in retired["installations"]] == [clock.now_ms()]
    assert (await admin.post("/positions/LMP-P12-CAM-A:retire")).status_code == 409
    again = await admin.post("/positions/LMP-P12-CAM-A:install", json={"node": "SSZ-0002", "channel": "cam-9"})
    assert again.status_code == 409


async def test_acts_leave_a_trail(admin: httpx.AsyncClient, database: Database) -> None:
    await admin.post("/nodes", json={"serial": "SSZ-0003", "unit": "/bpp/n1/dusit/"})
    await admin.post("/positions/LMP-AIR:install", json={"node": "SSZ-0003", "channel": "air-1"})
    await admin.post("/positions/LMP-AIR:retire")
    with database.read() as connection:
        trail = [(entry.action, entry.subject) for entry in audit.entries(connection, scope=Scope.ALL, limit=3)]
    assert sorted(trail) == [("node.add", "SSZ-0003"), ("position.install", "LMP-AIR"), ("position.retire", "LMP-AIR")]


async def test_acts_need_the_permission_and_the_scope(filled: Any, registry: Registry, api: Any) -> None:
    acts = [
        ("/nodes", {"serial": "SSZ-0003", "unit": "/bpp/n1/lumpini/"}),
        ("/positions/LMP-AIR:install", {"node": "SSZ-0001", "channel": "air-1"}),
        ("/positions/LMP-AIR:retire", {}),
    ]
    for role, unit, status in ((Role.TECHNICIAN, "/", 403), (Role.AUDITOR, "/", 403), (Role.ADMINISTRATOR, "/bpp/n1/dusit/", 404)):
        async with api.client(partial(router, registry), role, unit) as client:
            assert [(await client.post(path, json=body)).status_code for path, body in acts] == [status] * 3


async def test_import_dry_and_real(admin: httpx.AsyncClient) -> None:
    dry = (await admin.post("/imports/positions", params={"dry_run": True}, content=POSITION.encode("utf-8-sig"))).json()
    assert (dry["is_dry_run"], dry["created"], dry["errors"]) == (True, 1, [])
    assert (await admin.get("/positions/X-1")).status_code == 404
    real = (await admin.post("/imports/positions", content=POSITION)).json()
    assert (real["is_dry_run"], real["created"]) == (False, 1)
    assert (await admin.get("/positions/X-1")).status_code == 200


async def test_import_with_faults_says_which_and_writes_nothing(admin: httpx.AsyncClient) -> None:
    report = (await admin.post("/imports/positions", content=POSITION + "X-2,LMP,lumpini,camera,ก,99,100\n")).json()
    assert report["errors"] == [{"row": 3, "column": "lat", "message": "'99' is no number from -90 to 90"}]
    assert (report["created"], (await admin.get("/positions/X-1")).status_code) == (0, 404)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("dragons", b"", 422),
        ("positions", b"", 400),
        ("positions", "code,zone\nกล้อง,x\n".encode("cp874"), 400),
    ],
)
async def test_what_cannot_be_imported(admin: httpx.AsyncClient, kind: str, body: bytes, status: int) -> None:
    answer = await admin.post(f"/imports/{kind}", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"

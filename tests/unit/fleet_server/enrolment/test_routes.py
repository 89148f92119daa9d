"""`/api/v1/claims`, as scripts use it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fleet_server import problems
from fleet_server.access.guard import Guard
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access
from fleet_server.enrolment.routes import router
from fleet_server.enrolment.service import EnrolmentService, Issued
from fleet_server.storage import Database
from provisioning import est
from tests.unit.fleet_server.enrolment.fakes import HeldClock, NewApplicant, Nodes

ClientOf = Callable[..., httpx.AsyncClient]
ROOT = Principal("root", Role.ADMINISTRATOR, Scope.ALL, "session")


@pytest.fixture
def client_of(service: EnrolmentService, database: Database, clock: HeldClock) -> Callable[..., httpx.AsyncClient]:
    access = Access(database, clock)
    app = FastAPI()
    problems.install(app)
    app.include_router(router(service, Guard(access)), prefix="/api/v1")

    def make(role: Role = Role.ADMINISTRATOR, unit_path: str = "/") -> httpx.AsyncClient:
        secret = access.create_token(f"{role}-{unit_path.replace('/', '-')}", role, Scope(unit_path), by=ROOT)
        transport = httpx.ASGITransport(app)
        return httpx.AsyncClient(transport=transport, base_url="http://fleet", headers={"Authorization": f"Bearer {secret}"})

    return make


async def test_the_life_of_a_claim(client_of: ClientOf, nodes: Nodes, service: EnrolmentService, new_applicant: NewApplicant) -> None:
    client, node = client_of(Role.TECHNICIAN), nodes.add("SSZ-1")
    made = await client.post("/api/v1/claims", json={"node": "SSZ-1"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    claim = made.json()
    assert {k: v for k, v in claim.items() if k not in ("code", "expires_at_ms")} == {
        "node_id": node.id,
        "serial": "SSZ-1",
        "state": "manufactured",
    }
    again = await client.post("/api/v1/claims", json={"node": "SSZ-1"})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/conflict")
    fresh = (await client.post("/api/v1/claims/SSZ-1:reissue", json={})).json()
    assert fresh["code"] != claim["code"]
    approved = await client.post(f"/api/v1/claims/{node.id}:approve")
    assert (approved.status_code, approved.json()["state"]) == (200, "claimed")
    answer = await service.simpleenroll(est.Login("SSZ-1", fresh["code"]), new_applicant(), peer="10.0.0.9")
    assert isinstance(answer, Issued)
    shown = (await client.get("/api/v1/claims/SSZ-1")).json()
    assert shown["state"] == "provisioned"
    assert [c["serial"] for c in shown["certificates"]] == [f"{answer.certificate.serial_number:x}"]
    for secret in (fresh["code"], fresh["code"].replace("-", "")):
        assert secret not in (await client.get("/api/v1/claims/SSZ-1")).text + (await client.get("/api/v1/claims")).text


async def test_pending_nodes_are_listed_by_page(client_of: ClientOf, nodes: Nodes) -> None:
    client = client_of()
    for number in range(5):
        nodes.add(f"SSZ-{number}")
        await client.post("/api/v1/claims", json={"node": f"SSZ-{number}", "approve": number == 0})
    first = (await client.get("/api/v1/claims", params={"state": "manufactured", "limit": 3})).json()
    second = (await client.get("/api/v1/claims", params={"state": "manufactured", "limit": 3, "cursor": first["next_cursor"]})).json()
    assert [e["serial"] for e in first["items"] + second["items"]] == ["SSZ-1", "SSZ-2", "SSZ-3", "SSZ-4"]
    assert second["next_cursor"] is None


async def test_other_units_are_out_of_sight(client_of: ClientOf, nodes: Nodes) -> None:
    nodes.add("SSZ-1", "/bpp/n1/lumpini/")
    await client_of().post("/api/v1/claims", json={"node": "SSZ-1"})
    elsewhere = client_of(Role.TECHNICIAN, "/bpp/n2/")
    assert (await elsewhere.get("/api/v1/claims")).json()["items"] == []
    assert (await elsewhere.get("/api/v1/claims/SSZ-1")).status_code == 404
    assert (await elsewhere.post("/api/v1/claims/SSZ-1:approve")).status_code == 404
    assert (await elsewhere.post("/api/v1/claims/SSZ-1:reissue", json={})).status_code == 404


async def test_a_node_that_moved_is_seen_where_it_is_now(client_of: ClientOf, nodes: Nodes) -> None:
    node = nodes.add("SSZ-1", "/bpp/n1/lumpini/")
    await client_of().post("/api/v1/claims", json={"node": "SSZ-1"})
    nodes.move(node, "/bpp/n2/")
    assert (await client_of(Role.TECHNICIAN, "/bpp/n1/").get("/api/v1/claims")).json()["items"] == []
    here = client_of(Role.TECHNICIAN, "/bpp/n2/")
    (listed,) = (await here.get("/api/v1/claims", params={"state": "manufactured"})).json()["items"]
    assert listed["unit_path"] == (await here.get("/api/v1/claims/SSZ-1")).json()["unit_path"] == "/bpp/n2/"


@pytest.mark.parametrize("role", [r for r in Role if r not in (Role.ADMINISTRATOR, Role.TECHNICIAN)])
async def test_other_roles_look_but_do_not_touch(client_of: ClientOf, nodes: Nodes, role: Role) -> None:
    nodes.add("SSZ-1")
    client = client_of(role)
    assert (await client.get("/api/v1/claims")).status_code == 200
    assert (await client.post("/api/v1/claims", json={"node": "SSZ-1"})).status_code == 403
    assert (await client.post("/api/v1/claims/SSZ-1:approve")).status_code == 403


async def test_nobody_gets_nothing(client_of: ClientOf) -> None:
    client = client_of()
    client.headers.clear()
    assert (await client.get("/api/v1/claims")).status_code == 401
    assert (await client.post("/api/v1/claims", json={"node": "SSZ-1"})).status_code == 401


@pytest.mark.parametrize("body", [{}, {"node": 1}, {"node": "x", "colour": "red"}, {"node": "x" * 65}])
async def test_a_wrong_body_is_said_so(client_of: ClientOf, body: Any) -> None:
    answer = await client_of().post("/api/v1/claims", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_a_node_that_is_not_there(client_of: ClientOf) -> None:
    assert (await client_of().post("/api/v1/claims", json={"node": "nobody"})).status_code == 404

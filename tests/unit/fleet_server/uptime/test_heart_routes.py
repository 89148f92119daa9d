"""The API of states, uptime and innovation: shapes, scopes, pages, refusals."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from fleet_server import problems
from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal, Role, Scope
from fleet_server.errors import Forbidden
from fleet_server.exemptions.model import ExemptionKind
from fleet_server.presence import routes as presence_routes
from fleet_server.presence.service import Presence
from fleet_server.scoring import routes as scoring_routes
from fleet_server.scoring.service import Scoring
from fleet_server.storage import Database
from fleet_server.uptime import routes as uptime_routes
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import NODES, STATION, T0, World, evidence


class OpenGuard(Guard):
    """Lets in whoever the test says."""

    def __init__(self) -> None:
        self.who = Principal("tester", Role.ADMINISTRATOR, Scope.ALL, "token")

    def allow(self, permission: Permission) -> Callable[[Request], Principal]:
        def allowed(request: Request) -> Principal:
            if not self.who.may(permission):
                raise Forbidden("no")
            return self.who

        return allowed


class Api:
    def __init__(self, database: Database) -> None:
        self.world = world = World(database)
        world.add_node()
        world.add_position("CAM-A")
        world.add_position("CAM-B", unit="/bpp/n2/huaikhwang/", node=None)
        self.presence = Presence(database, world.journal, world.directory, world.exemptions, world.clock)
        self.uptime = Uptime(database, world.journal, world.directory, world.exemptions, world.clock)
        self.guard = OpenGuard()
        app = FastAPI()
        problems.install(app)
        app.include_router(presence_routes.router(self.presence, self.guard), prefix="/api/v1")
        app.include_router(uptime_routes.router(self.uptime, self.guard, world.clock), prefix="/api/v1")
        app.include_router(
            scoring_routes.router(Scoring(database, world.directory, self.presence, world.clock), self.guard), prefix="/api/v1"
        )
        self.app = app
        world.beat([evidence("cam-a", at=T0)], wall=T0)
        world.clock.at_ms = T0 + 10_000
        while not self.presence.advance():
            pass

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fleet") as client:
                return await client.request(method, "/api/v1" + path, json=body)

        return asyncio.run(asked())

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def api(database: Database) -> Api:
    return Api(database)


def test_states_come_in_pages(api: Api) -> None:
    first = api.get("/states?limit=1")
    items = first["items"]
    assert [(item["code"], item["state"]) for item in items] == [("CAM-A", "working")]
    second = api.get(f"/states?limit=1&cursor={first['next_cursor']}")
    items = second["items"]
    assert [(item["code"], item["cause"]) for item in items] == [("CAM-B", "not_installed")]
    assert second["next_cursor"] is None


def test_states_are_limited_to_the_scope_and_the_unit(api: Api) -> None:
    assert [item["code"] for item in api.get(f"/states?unit={STATION}")["items"]] == ["CAM-A"]
    api.guard.who = Principal("chief", Role.STATION_CHIEF, Scope("/bpp/n2/"), "session")
    assert [item["code"] for item in api.get("/states")["items"]] == ["CAM-B"]
    api.get(f"/states?unit={STATION}", 404)
    api.get("/positions/CAM-A/status", 404)
    api.get("/positions/CAM-A/uptime", 404)


def test_a_position_is_shown_layer_by_layer(api: Api) -> None:
    found = api.get("/positions/CAM-A/status")
    assert (found["state"], found["node"], found["since_ms"]) == ("working", NODES[0], T0)
    layers = found["layers"]
    assert [(layer["layer"], layer["is_ok"]) for layer in layers] == [
        ("server", True),
        ("link", True),
        ("agent", True),
        ("device", True),
        ("function", True),
    ]
    problem = api.get("/positions/CAM-Z/status", 404)
    assert problem["type"] == "/problems/not-found"


def test_nodes_are_shown_online(api: Api) -> None:
    assert [(item["serial"], item["is_online"]) for item in api.get("/states/nodes")["items"]] == [("SN-1", True)]


def test_uptime_of_a_position_adds_up(api: Api) -> None:
    found = api.get(f"/positions/CAM-A/uptime?from_ms=0&to_ms={T0 + 10**9}")
    assert (found["from_ms"], found["to_ms"]) == (0, T0 + 10_000)
    whole = found["whole"]
    assert whole["parts"] == {
        "working_ms": 10_000,
        "degraded_ms": 0,
        "failed_ms": 0,
        "unknown_ms": 0,
        "maintenance_ms": 0,
        "excused_ms": 0,
        "commissioned_ms": 10_000,
        "replayed_ms": 0,
        "observations": 1,
    }
    assert whole["measures"]["strict_percent"] == "100.0000"
    functions = found["functions"]
    assert [usage["function"] for usage in functions] == ["live"]
    before = api.get(f"/positions/CAM-A/uptime?from_ms=0&to_ms={T0}")
    assert (before["whole"], before["functions"]) == (None, [])


@pytest.mark.parametrize("query", ["from_ms=-1", "to_ms=x", "from_ms=5&to_ms=5", f"from_ms={10**18}", f"from_ms={T0 + 10**6}"])
def test_a_span_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    answer = api.ask("GET", f"/positions/CAM-A/uptime?{query}")
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_uptime_of_a_unit_shows_the_worst_beside_the_pool(api: Api) -> None:
    found = api.get(f"/uptime?from_ms={T0}&limit=1")
    summary = found["summary"]
    assert (summary["positions"], summary["at_target"], summary["measures"]["strict_percent"]) == (2, 1, "50.0000")
    assert [usage["code"] for usage in summary["worst"]] == ["CAM-B"]
    page = found["positions"]
    assert [usage["code"] for usage in page["items"]] == ["CAM-A"]
    second = api.get(f"/uptime?from_ms={T0}&limit=1&cursor={page['next_cursor']}")
    page = second["positions"]
    assert [usage["code"] for usage in page["items"]] == ["CAM-B"]


def test_maintenance_shows_in_states_uptime_and_innovation_alike(api: Api) -> None:
    api.world.exemptions.declare(
        "CAM-A", scope=Scope.ALL, kind=ExemptionKind.MAINTENANCE, from_ms=T0 + 12_000, to_ms=T0 + 20_000, reason="new lens", author="a"
    )
    api.world.clock.at_ms = T0 + 15_000
    (item,) = api.get("/states?limit=1")["items"]
    assert (item["state"], item["cause"], item["since_ms"]) == ("maintenance", "new lens", T0 + 12_000)
    assert [(f["state"], f["since_ms"]) for f in item["functions"]] == [("working", T0)]
    status = api.get("/positions/CAM-A/status")
    assert status["state"] == "maintenance"
    assert all(layer["is_ok"] for layer in status["layers"])
    parts = api.get(f"/positions/CAM-A/uptime?from_ms={T0}")["whole"]["parts"]
    assert (parts["working_ms"], parts["maintenance_ms"]) == (12_000, 3_000)
    assert api.get("/innovation")["types"] == [{"type": "cctv", "working": 0, "commissioned": 2, "counts": False}]


def test_innovation_is_shown_with_its_ruling(api: Api) -> None:
    assert api.get(f"/innovation?unit={STATION}") == {
        "types": [{"type": "cctv", "working": 1, "commissioned": 1, "counts": True}],
        "count": 1,
        "score": 1,
        "ruling": "table@1",
        "flags": [],
        "alternatives": [],
        "is_demo": False,
    }
    types = api.get("/innovation")["types"]
    assert types == [{"type": "cctv", "working": 1, "commissioned": 2, "counts": True}]
    api.get("/innovation?unit=nonsense", 400)

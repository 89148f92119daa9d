"""The API of the data path shows each caller what lies in the caller's units, and no more."""

from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry

from firmware_agent.contract.ids import NodeId, StreamId
from firmware_agent.contract.topics import Up
from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal, Role, Scope
from fleet_server.errors import NotFound
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Entry, Lane, Reason
from fleet_server.ingest.routes import router
from fleet_server.problems import install as install_problems
from fleet_server.registry.model import Directory, NodeRef
from fleet_server.storage import Database

LUMPINI = NodeRef(NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10"), "SSZ-1", "/bpp/n1/lumpini/")
DUSIT = NodeRef(NodeId("99999999-5c1d-4f0e-9c67-3c2f5d1a7e10"), "SSZ-2", "/bpp/n1/dusit/")
STREAM = StreamId("6f1c2a9b0d3e4f58")


class Nodes:
    def directory(self) -> Directory:
        return Directory(1, nodes=[LUMPINI, DUSIT])

    def node(self, name: str, scope: Scope) -> NodeRef:
        for node in (LUMPINI, DUSIT):
            if name in (node.id, node.serial) and scope.contains(node.unit_path):
                return node
        raise NotFound(f"There is no node {name!r}.")


class OpenGuard:
    """Lets everybody in, with the scope that the test says."""

    scope = Scope.ALL

    def allow(self, permission: Permission) -> Callable[[Request], Principal]:
        assert permission is Permission.VIEW

        def principal(request: Request) -> Principal:
            return cast("Principal", Caller(self.scope))

        return principal


class Caller:
    name = "tester"
    role = Role.AUDITOR

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


class Bench:
    def __init__(self, database: Database, clock: Any) -> None:
        self.journal = Journal(database)
        self.bad = BadMessages(database, clock, IngestMetrics(CollectorRegistry()))
        self.guard = OpenGuard()
        self.app = FastAPI()
        install_problems(self.app)
        self.app.include_router(router(self.journal, self.bad, cast("Guard", self.guard), Nodes()), prefix="/api/v1")

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fleet") as client:
            return await client.get(f"/api/v1{path}")


@pytest.fixture
def bench(database: Database, clock: Any) -> Bench:
    return Bench(database, clock)


async def test_streams_of_a_node_say_what_is_missing(bench: Bench) -> None:
    for seq in (3, 4, 8):
        bench.journal.append([Entry(1, LUMPINI.id, Lane.LIVE, Up.HEARTBEAT, b"{}", STREAM, seq, 3)])
    expected = [{"stream": STREAM, "through": 8, "floor": 3, "gaps": [[5, 7]], "missing": 3, "stored": 3, "evicted": 2}]
    assert (await bench.get(f"/nodes/{LUMPINI.id}/streams")).json() == expected
    assert (await bench.get("/nodes/SSZ-1/streams")).json() == expected
    assert (await bench.get("/nodes/SSZ-2/streams")).json() == []


async def test_node_of_another_unit_does_not_exist(bench: Bench) -> None:
    bench.guard.scope = Scope("/bpp/n1/dusit/")
    assert (await bench.get("/nodes/SSZ-1/streams")).status_code == 404


async def test_bad_messages_are_shown_by_scope_and_in_pages(bench: Bench) -> None:
    for node in (LUMPINI.id, DUSIT.id, None):
        bench.bad.add(Reason.MALFORMED, node=node, topic="up/event", payload=b"\xff\x00x", detail="why")
    bench.bad.flush()
    everything = (await bench.get("/ingest/bad-messages")).json()["items"]
    assert [item["node"] for item in everything] == ["", LUMPINI.id, DUSIT.id]
    assert everything[0]["sample"] == "\\xff\x00x"
    first = (await bench.get("/ingest/bad-messages?limit=2")).json()
    second = (await bench.get(f"/ingest/bad-messages?limit=2&cursor={first['next_cursor']}")).json()
    assert first["items"] + second["items"] == everything
    bench.guard.scope = Scope("/bpp/n1/dusit/")
    assert [item["node"] for item in (await bench.get("/ingest/bad-messages")).json()["items"]] == [DUSIT.id]

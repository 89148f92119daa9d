"""Everything that can be wrong with a claim code, a server or a CA, as the technician meets it: one sentence and an exit status."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.scenarios.programs import free_port, program
from hil.scenarios.world import World
from tests.integration.agent.certificates import Ca

REFUSED = "the serial is unknown, or the code is wrong, expired, locked after too many tries, or was used by another key"
MISTYPED = "ABCD-EFGH-JKMN-PQRS-T"


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    error: str

    @property
    def last(self) -> str:
        return self.error.strip().splitlines()[-1]


class Technician:
    """Runs `zone-agent enrol` for nodes of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def folder(self, name: str) -> Path:
        return self._world.folder / "technician" / name

    async def enrol(self, serial: str, code: str, *, name: str = "", url: str = "", ca: Path | None = None, wait_s: float = 0) -> Said:
        server = self._world.server
        argv = [program("zone-agent"), "enrol", "--serial", serial, "--code", code, "--data", self.folder(name or serial)]
        argv += ["--server", url or server.est_url, "--ca", ca or server.ca_file, "--wait", str(wait_s)]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*map(str, argv), stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(60):
                out, error = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        said = Said(child.returncode or 0, out.decode(), error.decode())
        assert "Traceback" not in said.error
        return said

    async def is_refused(self, serial: str, code: str, *, name: str = "") -> bool:
        said = await self.enrol(serial, code, name=name)
        assert said.status == 1, said
        assert len(said.error.strip().splitlines()) == 1
        return REFUSED in said.last

    def certificate(self, name: str) -> bytes:
        return (self.folder(name) / "identity" / "cert.pem").read_bytes()


@pytest.mark.usefixtures("while_the_demo_runs")
async def test_each_way_to_fail_is_one_sentence(tmp_path: Path) -> None:
    async with World(tmp_path, nodes=5, say=print, must_enrol=False) as world:
        technician = Technician(world)
        async with asyncio.TaskGroup() as group:
            for part in (unknown_or_wrong, used, locked, expired, not_genuine):
                group.create_task(part(technician, world), name=part.__name__)
        await server_not_up_yet(technician, world)


async def unknown_or_wrong(technician: Technician, world: World) -> None:
    assert await technician.is_refused("NO-SUCH-NODE", MISTYPED)
    serial = world.nodes[0].serial
    assert await technician.is_refused(serial, MISTYPED)
    assert await technician.is_refused(serial, world.claims[world.nodes[1].serial]), "the code of another node"


async def used(technician: Technician, world: World) -> None:
    serial = world.nodes[1].serial
    code = world.claims[serial]
    assert (await technician.enrol(serial, code, wait_s=20)).status == 0
    first = technician.certificate(serial)
    assert (await technician.enrol(serial, code, wait_s=20)).status == 0, "the same key may ask again"
    assert technician.certificate(serial) == first
    assert await technician.is_refused(serial, code, name="somebody-else")
    assert await technician.is_refused(serial, code), "two hold the code: it is dead for both"
    assert technician.certificate(serial) == first


async def locked(technician: Technician, world: World) -> None:
    serial = world.nodes[2].serial
    for _ in range(5):
        assert await technician.is_refused(serial, world.claims[world.nodes[3].serial])
    assert await technician.is_refused(serial, world.claims[serial]), "locked: the right code is of no use any more"
    fresh = await world.server.api.post(f"/claims/{serial}:reissue", {"approve": True})
    assert (await technician.enrol(serial, fresh["code"], wait_s=20)).status == 0


async def expired(technician: Technician, world: World) -> None:
    serial = world.nodes[3].serial
    with closing(sqlite3.connect(world.server.folder / "fleet.db", timeout=20)) as db, db:
        assert db.execute("UPDATE enrolment SET claim_expires_at_ms = 1 WHERE serial = ?", (serial,)).rowcount == 1
    assert await technician.is_refused(serial, world.claims[serial])


async def not_genuine(technician: Technician, world: World) -> None:
    other = world.folder / "other-ca.pem"
    other.write_bytes(Ca.root("Other").pem)
    said = await technician.enrol(world.nodes[4].serial, world.claims[world.nodes[4].serial], ca=other, wait_s=20)
    assert said.status == 1
    assert "wrong CA file, or somebody in between" in said.last
    assert "Trying again" not in said.error, "it stops at once"
    nobody = f"https://127.0.0.1:{free_port()}"
    said = await technician.enrol(world.nodes[4].serial, world.claims[world.nodes[4].serial], url=nobody, wait_s=1)
    assert said.status == 1
    assert "Gave up after 1 s; run the same command again" in said.last


async def server_not_up_yet(technician: Technician, world: World) -> None:
    serial = world.nodes[0].serial
    await world.server.stop()
    early = asyncio.create_task(technician.enrol(serial, world.claims[serial], wait_s=50))
    await world.server.start()
    said = await early
    assert said.status == 0, said
    assert f"Enrolled as node {(await world.server.api.get(f'/nodes/{serial}'))['id']} (serial {serial})." in said.out

"""Criterion 3 from live state: what counts, what is left out, and what is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from firmware_agent.contract.vocabulary import Function, Kind, Verdict
from fleet_server.access.model import Scope
from fleet_server.errors import Gone
from fleet_server.exemptions.model import ExemptionKind
from fleet_server.presence.service import Presence
from fleet_server.scoring.innovation import units_above
from fleet_server.scoring.model import Flag
from fleet_server.scoring.service import Scoring, innovation_news
from fleet_server.storage import Database, changes
from tests.integration.uptime.world import STATION, T0, World, evidence


class Station:
    """Two cameras, a button, a lamp, a sensor on one node."""

    def __init__(self, database: Database, *, is_simulated: bool = False, is_demo: bool = False) -> None:
        self.world = world = World(database)
        world.add_node(is_simulated=is_simulated)
        for code in ("CAM-A", "CAM-B"):
            world.add_position(code)
        world.add_position("BTN", Kind.PANIC_BUTTON, functions=(Function.PRESS,), innovation_type="panic_button")
        world.add_position("LMP", Kind.STREET_LIGHT, functions=(Function.LIT,), innovation_type="street_light")
        world.add_position("AIR", Kind.SENSOR, functions=(Function.READING,), innovation_type=None)
        self.presence = Presence(database, world.journal, world.directory, world.exemptions, world.clock)
        self.scoring = Scoring(database, world.directory, self.presence, world.clock, is_demo=is_demo)

    def says(self, at: int, *, dead: tuple[str, ...] = (), verdict: Verdict = Verdict.FAILED) -> None:
        functions = {"cam-a": Function.LIVE, "cam-b": Function.LIVE, "btn": Function.PRESS, "lmp": Function.LIT, "air": Function.READING}
        said = [evidence(c, f, verdict if c in dead else Verdict.WORKING, at=at) for c, f in functions.items()]
        self.world.beat(said, wall=at)
        self.catch_up(at + 60)

    def catch_up(self, now: int) -> None:
        self.world.clock.at_ms = now
        while not self.presence.advance():
            pass

    def told(self, unit: str = STATION) -> list[object]:
        with self.world.database.read() as connection:
            return [c.data["count"] for c in changes.after(connection, 0) if c.kind == "innovation" and c.subject == unit]

    def counts(self) -> dict[str, tuple[int, int, bool]]:
        return {t.type: (t.working, t.commissioned, t.counts) for t in self.scoring.innovation(scope=Scope.ALL).types}


@pytest.fixture
def station(database: Database) -> Station:
    return Station(database)


def test_a_type_counts_while_one_of_it_works(station: Station) -> None:
    assert station.counts() == {"cctv": (0, 2, False), "panic_button": (0, 1, False), "street_light": (0, 1, False)}
    station.says(T0)
    assert station.counts() == {"cctv": (2, 2, True), "panic_button": (1, 1, True), "street_light": (1, 1, True)}
    proposal = station.scoring.innovation(scope=Scope.ALL)
    assert (proposal.count, proposal.score.score, proposal.is_demo) == (3, 3, False)
    station.says(T0 + 1_000, dead=("cam-a",))
    assert station.scoring.innovation(scope=Scope.ALL).count == 3
    station.says(T0 + 2_000, dead=("cam-a", "cam-b"))
    assert station.scoring.innovation(scope=Scope.ALL).count == 2
    station.says(T0 + 3_000, dead=("cam-b",))
    assert station.scoring.innovation(scope=Scope.ALL).count == 3


@pytest.mark.parametrize("verdict", [Verdict.DEGRADED, Verdict.FAILED, Verdict.UNKNOWN])
def test_only_working_counts(station: Station, verdict: Verdict) -> None:
    station.says(T0, dead=("btn",), verdict=verdict)
    assert station.counts()["panic_button"] == (0, 1, False)


def exempt(station: Station, kind: ExemptionKind, code: str) -> None:
    station.world.exemptions.declare(
        code, scope=Scope.ALL, kind=kind, from_ms=T0 + 1_000, to_ms=T0 + 5_000, reason="r", document="d", author="a"
    )


def test_under_maintenance_nothing_counts_though_evidence_says_that_it_works(station: Station) -> None:
    exempt(station, ExemptionKind.MAINTENANCE, "BTN")
    counted = []
    for at in (T0, T0 + 2_000, T0 + 5_000):
        station.says(at)
        station.scoring.tell()
        counted.append(station.counts()["panic_button"])
    assert counted == [(1, 1, True), (0, 1, False), (1, 1, True)]
    assert station.told() == [3, 2, 3]


def test_an_excuse_changes_nothing_of_what_counts(station: Station) -> None:
    for code in ("BTN", "LMP"):
        exempt(station, ExemptionKind.EXCUSED, code)
    station.says(T0 + 2_000, dead=("lmp",))
    assert station.counts() == {"cctv": (2, 2, True), "panic_button": (1, 1, True), "street_light": (0, 1, False)}


def test_a_second_camera_changes_nothing(station: Station) -> None:
    station.says(T0)
    before = station.scoring.innovation(scope=Scope.ALL).score
    station.world.add_position("CAM-C", channel="cam-c")
    assert station.scoring.innovation(scope=Scope.ALL).score == before


def test_what_is_not_commissioned_does_not_count(station: Station) -> None:
    station.says(T0)
    lamp = next(p.id for p in station.world.positions.values() if p.code == "LMP")
    station.world.change(lamp, commissioned_at_ms=None)
    assert "street_light" not in station.counts()


def test_a_simulated_node_is_not_scored_outside_a_demo(database: Database) -> None:
    station = Station(database, is_simulated=True)
    station.says(T0)
    assert station.counts() == {}
    demo = Scoring(database, station.world.directory, station.presence, station.world.clock, is_demo=True)
    proposal = demo.innovation(scope=Scope.ALL)
    assert (proposal.count, proposal.is_demo) == (3, True)


def test_five_types_warn_of_the_cliff(station: Station) -> None:
    for number, type_ in enumerate(("drone", "line")):
        station.world.add_position(f"X{number}", innovation_type=type_, channel=f"x{number}")
    station.world.beat([evidence(f"x{number}", at=T0) for number in range(2)], wall=T0)
    station.says(T0)
    proposal = station.scoring.innovation(scope=Scope.ALL)
    assert (proposal.count, proposal.score.score, proposal.score.flags) == (5, 5, (Flag.CLIFF,))
    assert innovation_news(proposal)["alternatives"] == [{"reading": "one_type_more", "score": 10}]


def test_a_scope_counts_its_own_positions(station: Station) -> None:
    station.says(T0)
    assert station.scoring.innovation(scope=Scope("/bpp/n2/")).types == ()
    assert station.scoring.innovation(scope=Scope(STATION)).count == 3


def test_a_change_is_told_once_for_each_unit_above(station: Station) -> None:
    station.says(T0)
    assert set(station.scoring.tell()) == set(units_above(STATION)) == {"/", "/bpp/", "/bpp/n1/", STATION}
    assert station.scoring.tell() == []
    again = Scoring(station.world.database, station.world.directory, station.presence, station.world.clock)
    assert again.tell() == []
    station.says(T0 + 1_000, dead=("cam-a", "cam-b"))
    again.tell()
    assert station.told() == station.told("/") == [3, 2]


async def test_running_it_follows_the_positions(station: Station) -> None:
    feed = changes.ChangeFeed(station.world.database, poll_s=0.05)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(station.scoring.run(feed))]
    try:
        await until(station, [0])
        await asyncio.to_thread(station.says, T0)
        await until(station, [0, 3])
        await asyncio.to_thread(station.says, T0 + 1_000, dead=("cam-a", "cam-b"))
        await until(station, [0, 3, 2])
        await asyncio.to_thread(station.says, T0 + 2_000)
        await until(station, [0, 3, 2, 3])
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class PurgedOnce(changes.ChangeFeed):
    """Tells the first who follows that its news is gone."""

    is_told = False

    async def follow(self, number: int, *, unit_path: str) -> AsyncIterator[list[changes.Change]]:
        if not self.is_told:
            self.is_told = True
            raise Gone("purged", newest=number)
        async for news in super().follow(number, unit_path=unit_path):
            yield news


async def test_running_it_looks_anew_when_the_news_was_purged(station: Station) -> None:
    feed = PurgedOnce(station.world.database, poll_s=0.05)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(station.scoring.run(feed))]
    try:
        await until(station, [0])
        await asyncio.to_thread(station.says, T0)
        await until(station, [0, 3])
        assert feed.is_told
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(station: Station, counts: list[object]) -> None:
    for _ in range(400):
        if (told := await asyncio.to_thread(station.told)) == counts:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"told {told}, not {counts}")

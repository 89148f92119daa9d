"""The console's promises over the real services, on SQLite."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from argon2 import PasswordHasher
from msgspec import structs

from firmware_agent.contract.vocabulary import Kind, Verdict
from fleet_server.access.guard import Guard
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access
from fleet_server.alarms.service import Alarms
from fleet_server.console.facts import Viewer
from fleet_server.console.frame import DEMO_VISITOR
from fleet_server.console.services import ConsoleServices
from fleet_server.console.sources import console_services, principal_of
from fleet_server.errors import NotFound, Rejected
from fleet_server.presence.layers import Layer
from fleet_server.presence.model import State
from fleet_server.presence.service import Presence
from fleet_server.problems import Unauthenticated
from fleet_server.registry.model import Level, PositionRef, Unit, Zone
from fleet_server.registry.model import Position as RegisteredPosition
from fleet_server.registry.service import Registry
from fleet_server.scoring.service import Scoring
from fleet_server.storage import Database
from fleet_server.storage.changes import ChangeFeed
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import HOUR, STATION, T0, World, evidence

ROOT = Principal("root", Role.ADMINISTRATOR, Scope.ALL, "session")


@dataclass
class SmallRegistry:
    """The part of the registry that the console asks, over the world's directory."""

    world: World

    def directory(self) -> object:
        return self.world.directory()

    def units(self, scope: Scope) -> list[Unit]:
        return [unit for unit in [Unit(STATION, "station", Level.STATION, "สถานี", "Station")] if scope.contains(unit.path)]

    def zones(self, scope: Scope) -> list[Zone]:
        return [Zone("Z1", "เขต", "Zone", 0.5, STATION, (STATION,))]

    def position(self, code: str, scope: Scope) -> RegisteredPosition:
        ref = self.world.directory().position_of_code(code)
        assert isinstance(ref, PositionRef)
        fields = {name: getattr(ref, name) for name in PositionRef.__dataclass_fields__}
        return RegisteredPosition(**fields, owner="เทศบาล")


@dataclass
class Console:
    world: World
    services: ConsoleServices
    presence: Presence
    uptime: Uptime
    access: Access

    def catch_up(self) -> None:
        while not self.presence.advance():
            pass
        while not self.uptime.advance():
            pass


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    database.create_all()
    world = World(database)
    registry = cast(Registry, SmallRegistry(world))
    presence = Presence(database, world.journal, world.directory, world.exemptions, world.clock)
    uptime = Uptime(database, world.journal, world.directory, world.exemptions, world.clock)
    access = Access(database, world.clock, hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    services = console_services(
        registry=registry,
        presence=presence,
        uptime=uptime,
        scoring=Scoring(database, world.directory, presence, world.clock, is_demo=True),
        alarms=Alarms(database, world.journal, world.directory, world.clock),
        journal=world.journal,
        access=access,
        guard=Guard(access),
        database=database,
        feed=ChangeFeed(database),
        clock=world.clock,
    )
    yield Console(world, services, presence, uptime, access)
    database.close()


def test_a_camera_works_then_fails_on_every_page(console: Console) -> None:
    world, fleet = console.world, console.services.fleet
    world.add_node(is_simulated=True)
    world.add_position("CAM")
    world.add_position("LAMP", Kind.STREET_LIGHT, functions=(), innovation_type=None, node=None)
    for at in range(T0, T0 + 600_000, 10_000):
        world.clock.at_ms = at + 100
        is_dead = at >= T0 + 300_000
        world.beat(
            [evidence("cam", verdict=Verdict.FAILED if is_dead else Verdict.WORKING, at=at, cause="refused" if is_dead else "")], wall=at
        )
        console.catch_up()
    cam, lamp = fleet.positions("/")
    assert (cam.code, cam.state, cam.cause, cam.is_simulated) == ("CAM", State.FAILED, "refused", True)
    assert (lamp.state, lamp.label_th) == (State.UNKNOWN, "LAMP")
    assert fleet.innovation("/").count == 0

    detail = fleet.position("CAM", "/")
    assert [layer.layer for layer in detail.layers if layer.is_ok is False] == [Layer.DEVICE]
    assert (detail.node_serial, detail.channel, detail.owner) == ("SN-1", "cam", "เทศบาล")

    now_ms = world.clock.at_ms
    segments = fleet.segments("CAM", from_ms=T0 - HOUR, to_ms=now_ms)
    assert [(s.start_ms, s.state) for s in segments] == [(T0, State.WORKING), (T0 + 300_000, State.FAILED)]
    parts = fleet.usage(["CAM"], from_ms=T0 - HOUR, to_ms=now_ms)["CAM"]
    assert (parts.working_ms, parts.failed_ms) == (300_000, now_ms - T0 - 300_000)
    assert sum(s.end_ms - s.start_ms for s in segments) == parts.commissioned_ms


def test_hours_are_the_ledgers_then_what_is_open(console: Console) -> None:
    world, fleet = console.world, console.services.fleet
    world.add_node()
    world.add_position("CAM")
    for at in range(T0, T0 + 2 * HOUR + 600_000, 20_000):
        world.beat([evidence("cam", at=at)], wall=at)
    world.clock.at_ms = T0 + 2 * HOUR + 600_000
    console.catch_up()
    hours = fleet.hours("CAM", from_ms=T0 - 24 * HOUR, to_ms=world.clock.at_ms)
    assert [(h.from_ms - T0, h.to_ms - T0) for h in hours] == [(0, HOUR), (HOUR, 2 * HOUR), (2 * HOUR, 2 * HOUR + 600_000)]
    assert [h.parts.working_ms for h in hours] == [HOUR, HOUR, 600_000]


def test_evidence_has_the_age_of_its_check_and_the_numbers_of_that_check_only(console: Console) -> None:
    world = console.world
    world.add_node()
    world.add_position("CAM")
    world.beat([structs.replace(evidence("cam", at=T0), metrics={"fps": 10.0})], wall=T0)
    world.beat([evidence("cam", verdict=Verdict.FAILED, at=T0 + 20_000, cause="refused")], wall=T0 + 25_000, received=T0 + 26_000)
    world.clock.at_ms = T0 + 30_000
    console.catch_up()
    (function,) = console.services.fleet.position("CAM", "/").functions
    assert function.observed_at_ms == T0 + 21_000  # five seconds before it was received, whatever the node's clock says
    assert function.metrics == {}


def test_hours_before_the_ledger_began_are_unknown(console: Console) -> None:
    world, fleet = console.world, console.services.fleet
    world.add_node()
    world.add_position("CAM", commissioned=T0 - 3 * HOUR + 600_000)
    world.clock.at_ms = T0 + 600_000
    console.catch_up()
    hours = fleet.hours("CAM", from_ms=T0 - 24 * HOUR, to_ms=world.clock.at_ms)
    assert [h.from_ms - T0 for h in hours] == [-3 * HOUR + 600_000, -2 * HOUR, -HOUR, 0]
    assert sum(h.parts.unknown_ms for h in hours) == 3 * HOUR
    parts = fleet.usage(["CAM"], from_ms=T0 - 24 * HOUR, to_ms=world.clock.at_ms)["CAM"]
    assert sum(h.parts.commissioned_ms for h in hours) == parts.commissioned_ms


def test_units_and_zones_by_name(console: Console) -> None:
    fleet = console.services.fleet
    assert [(unit.path, unit.label_th) for unit in fleet.units("/")] == [(STATION, "สถานี")]
    assert fleet.units("/elsewhere/") == []
    assert [(zone.label_en, zone.unit_path) for zone in fleet.zones("/")] == [("Zone", STATION)]


def test_what_is_outside_the_scope_is_not_there(console: Console) -> None:
    console.world.add_node()
    console.world.add_position("CAM")
    fleet = console.services.fleet
    assert fleet.positions("/elsewhere/") == []
    assert fleet.nodes("/elsewhere/") == []
    with pytest.raises(NotFound):
        fleet.position("CAM", "/elsewhere/")


def test_a_node_in_the_store_room_is_left_out(console: Console) -> None:
    console.world.add_node()
    assert console.services.fleet.nodes("/") == []
    console.world.add_position("CAM")
    assert [node.serial for node in console.services.fleet.nodes("/")] == ["SN-1"]


def test_accounts_from_link_to_log_out(console: Console) -> None:
    accounts = console.services.accounts
    link = console.access.create_account("somchai", Role.CCOC_OPERATOR, STATION, by=ROOT)
    assert accounts.link_user(link.secret) == "somchai"
    with pytest.raises(Rejected):
        accounts.use_link(link.secret, "short")
    accounts.use_link(link.secret, "a sentence nobody knows")
    with pytest.raises(Rejected):
        accounts.link_user(link.secret)
    with pytest.raises(Unauthenticated):
        accounts.log_in("somchai", "wrong", address="::1")
    session = accounts.log_in("somchai", "a sentence nobody knows", address="::1")
    assert accounts.viewer(session) == Viewer("somchai", "ccoc_operator", STATION, may_acknowledge=True)
    accounts.log_out(session)
    assert accounts.viewer(session) is None


def test_a_visitor_of_the_demo_answers_as_an_operator_and_nothing_more() -> None:
    principal = principal_of(DEMO_VISITOR)
    assert (principal.name, principal.role) == ("demo", Role.CCOC_OPERATOR)
    assert principal_of(Viewer("a", "auditor", STATION)) == Principal("a", Role.AUDITOR, Scope(STATION), "session")


def test_a_press_that_nobody_raised_cannot_be_taken(console: Console) -> None:
    presses = console.services.presses
    assert presses.presses("/", limit=5) == []
    with pytest.raises(NotFound):
        presses.acknowledge("00000000-0000-4000-8000-000000000001:00000000000000aa:1", DEMO_VISITOR)

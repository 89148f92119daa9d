"""Exemptions on real databases: what is refused, what is recorded, and how others learn of it."""

import pytest

from fleet_server.access import audit
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound, Rejected
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.exemptions.service import Exemptions
from fleet_server.storage import Database
from tests.integration.uptime.world import STATION, T0, World

MAINTENANCE, EXCUSED = ExemptionKind.MAINTENANCE, ExemptionKind.EXCUSED
ELSEWHERE = Scope("/bpp/n2/")


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.add_node()
    world.add_position("CAM-A")
    return world


def declare(
    world: World,
    kind: ExemptionKind = EXCUSED,
    from_ms: int = T0,
    to_ms: int = T0 + 100,
    *,
    scope: Scope = Scope.ALL,
    reason: str = " flood ",
    document: str = "DDPM 7",
) -> Exemption:
    return world.exemptions.declare(
        "CAM-A", scope=scope, kind=kind, from_ms=from_ms, to_ms=to_ms, reason=reason, document=document, author="chief"
    )


def in_force(world: World) -> list[int]:
    return [exemption.id for exemption in world.exemptions.of_position("CAM-A", scope=Scope.ALL)]


@pytest.mark.parametrize(
    ("kind", "from_ms", "to_ms", "reason", "document", "says"),
    [
        (EXCUSED, T0, T0, "x", "d", "start before it ends"),
        (EXCUSED, T0, T0 + 1, " ", "d", "reason"),
        (EXCUSED, T0, T0 + 1, "x", " ", "document"),
        (MAINTENANCE, T0 - 1, T0 + 1, "x", "", "before it starts"),
    ],
)
def test_one_without_ground_is_refused(
    world: World, kind: ExemptionKind, from_ms: int, to_ms: int, reason: str, document: str, says: str
) -> None:
    with pytest.raises(Rejected, match=says):
        declare(world, kind, from_ms, to_ms, reason=reason, document=document)
    assert in_force(world) == []


def test_outside_the_scope_nothing_is_shown_or_changed(world: World) -> None:
    with pytest.raises(NotFound, match="CAM-A"):
        declare(world, scope=ELSEWHERE)
    made = declare(world)
    with pytest.raises(NotFound, match="CAM-A"):
        world.exemptions.of_position("CAM-A", scope=ELSEWHERE)
    with pytest.raises(NotFound, match=str(made.id)):
        world.exemptions.withdraw(made.id, scope=ELSEWHERE, by="x")
    with pytest.raises(NotFound, match=str(made.id)):
        world.exemptions.move_end(made.id, T0 + 50, scope=ELSEWHERE, by="x")
    assert in_force(world) == [made.id]


def test_a_position_takes_its_exemptions_along_to_another_unit(world: World) -> None:
    made = declare(world)
    world.change(made.position_id, unit_path="/bpp/n2/huaikhwang/")
    with pytest.raises(NotFound):
        world.exemptions.withdraw(made.id, scope=Scope(STATION), by="x")
    assert [e.reason for e in world.exemptions.of_position("CAM-A", scope=ELSEWHERE)] == ["flood"]
    world.exemptions.withdraw(made.id, scope=ELSEWHERE, by="x")
    assert in_force(world) == []


def test_what_is_withdrawn_cannot_be_touched_again(world: World) -> None:
    made = declare(world)
    world.exemptions.withdraw(made.id, scope=Scope.ALL, by="x")
    for touch in (
        lambda: world.exemptions.withdraw(made.id, scope=Scope.ALL, by="x"),
        lambda: world.exemptions.move_end(made.id, T0 + 50, scope=Scope.ALL, by="x"),
    ):
        with pytest.raises(NotFound, match=str(made.id)):
            touch()


def test_another_end_makes_another_exemption_of_the_same_ground(world: World) -> None:
    made = declare(world)
    world.clock.at_ms = T0 + 10
    moved = world.exemptions.move_end(made.id, T0 + 500, scope=Scope.ALL, by="deputy")
    assert in_force(world) == [moved.id]
    assert moved.id != made.id
    assert (moved.kind, moved.from_ms, moved.to_ms, moved.reason, moved.document) == (EXCUSED, T0, T0 + 500, "flood", "DDPM 7")
    assert (moved.author, moved.created_at_ms) == ("deputy", T0 + 10)


def test_an_end_before_the_beginning_is_refused(world: World) -> None:
    made = declare(world)
    with pytest.raises(Rejected, match="start before it ends"):
        world.exemptions.move_end(made.id, T0, scope=Scope.ALL, by="x")
    assert in_force(world) == [made.id]


def test_maintenance_is_prolonged_only_while_it_lasts(world: World) -> None:
    made = declare(world, MAINTENANCE)
    world.clock.at_ms = T0 + 99
    made = world.exemptions.move_end(made.id, T0 + 200, scope=Scope.ALL, by="x")
    world.clock.at_ms = T0 + 201
    with pytest.raises(Rejected, match="cannot be prolonged"):
        world.exemptions.move_end(made.id, T0 + 300, scope=Scope.ALL, by="x")
    shorter = world.exemptions.move_end(made.id, T0 + 150, scope=Scope.ALL, by="x")
    assert in_force(world) == [shorter.id]


def test_each_act_is_in_the_audit_trail(world: World) -> None:
    made = declare(world)
    moved = world.exemptions.move_end(made.id, T0 + 50, scope=Scope.ALL, by="deputy")
    world.exemptions.withdraw(moved.id, scope=Scope.ALL, by="chief")
    with world.database.read() as connection:
        entries = audit.entries(connection, scope=Scope(STATION))
    assert [(e.action, e.actor, e.subject, e.data["exemption"], e.data.get("replaces")) for e in reversed(entries)] == [
        ("exemption.declare", "chief", "CAM-A", made.id, None),
        ("exemption.move_end", "deputy", "CAM-A", moved.id, made.id),
        ("exemption.withdraw", "chief", "CAM-A", moved.id, None),
    ]


def test_another_process_learns_of_each_change_within_a_second(world: World) -> None:
    other = Exemptions(world.database, world.directory, world.clock)
    before = other.calendar()
    made = declare(world)
    assert [e.id for e in world.exemptions.calendar().of(made.position_id)] == [made.id]
    assert other.calendar() is before
    world.clock.at_ms += 1_000
    assert [e.to_ms for e in other.calendar().of(made.position_id)] == [T0 + 100]
    world.exemptions.move_end(made.id, T0 + 50, scope=Scope.ALL, by="x")
    world.clock.at_ms += 1_000
    seen = other.calendar()
    assert [e.to_ms for e in seen.of(made.position_id)] == [T0 + 50]
    world.clock.at_ms += 1_000
    assert other.calendar() is seen


def test_the_calendar_holds_what_ended_lately_and_nothing_old(world: World) -> None:
    day_ms = 86_400_000
    old, lately = declare(world, from_ms=T0 - 90 * day_ms, to_ms=T0 - 80 * day_ms), declare(world, from_ms=T0 - day_ms, to_ms=T0)
    held = [e.id for e in world.exemptions.calendar().of(old.position_id)]
    assert held == [lately.id]
    found = world.exemptions.between(from_ms=0, to_ms=T0, positions=[old.position_id])
    assert [e.id for e in found[old.position_id]] == [old.id, lately.id]

"""Maintenance and excuses in live state, on real databases: told as they begin, change and end, also around a restart."""

import pytest

from firmware_agent.contract.vocabulary import Function, Verdict
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.exemptions.service import Exemptions
from fleet_server.presence.layers import Layer, PositionStatus
from fleet_server.presence.model import State
from fleet_server.presence.service import Presence
from fleet_server.presence.watch import BLIND_AFTER_MS
from fleet_server.storage import Database, changes
from tests.integration.uptime.world import STATION, T0, World, evidence

M, X, W, F, U = State.MAINTENANCE, State.EXCUSED, State.WORKING, State.FAILED, State.UNKNOWN


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.add_node()
    world.add_position("CAM-A")
    world.add_position("CAM-B", unit="/bpp/n2/huaikhwang/")
    return world


def presence_of(world: World) -> Presence:
    """A process of its own, with a look of its own at the exemptions."""
    exemptions = Exemptions(world.database, world.directory, world.clock)
    return Presence(world.database, world.journal, world.directory, exemptions, world.clock)


def exempt(world: World, kind: ExemptionKind, from_ms: int, to_ms: int, reason: str = "new lens") -> Exemption:
    return world.exemptions.declare(
        "CAM-A", scope=Scope.ALL, kind=kind, from_ms=from_ms, to_ms=to_ms, reason=reason, document="d", author="chief"
    )


def say(world: World, at: int, verdict: Verdict = Verdict.WORKING, *, ttl: int = 89_000) -> None:
    world.beat([evidence("cam-a", verdict=verdict, at=at, ttl=ttl, cause="" if verdict is Verdict.WORKING else "timeout")], wall=at)


def at(world: World, now: int, presence: Presence) -> None:
    world.clock.at_ms = now
    while not presence.advance():
        pass


def told(world: World, after: int = 0) -> list[tuple[object, object, object]]:
    with world.database.read() as connection:
        news = [c for c in changes.after(connection, after) if c.kind == "position" and c.subject == "CAM-A"]
    return [(c.data["state"], c.data["cause"], c.data["since_ms"]) for c in news]


def newest(world: World) -> int:
    with world.database.read() as connection:
        return changes.newest(connection)


def shown(presence: Presence, code: str = "CAM-A") -> PositionStatus:
    return presence.position(code, scope=Scope.ALL).status


def test_maintenance_is_told_from_its_beginning_to_its_end(world: World) -> None:
    presence = presence_of(world)
    say(world, T0)
    at(world, T0 + 100, presence)
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 5_000, T0 + 9_000)
    before = newest(world)
    for now in (T0 + 4_999, T0 + 5_003, T0 + 6_000, T0 + 8_999, T0 + 9_004, T0 + 10_000):
        at(world, now, presence)
    assert told(world, before) == [("maintenance", "new lens", T0 + 5_000), ("working", "", T0 + 9_000)]


def test_it_sleeps_no_longer_than_to_the_next_turn(world: World) -> None:
    presence = presence_of(world)
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 5_000, T0 + 9_000)
    seen = []
    for now in (T0, T0 + 5_000, T0 + 9_000):
        at(world, now, presence)
        seen.append(presence._telling.next_turn_ms())
    assert seen == [T0 + 5_000, T0 + 9_000, None]


def test_whoever_asks_sees_it_at_the_very_instant(world: World) -> None:
    writer, reader = presence_of(world), presence_of(world)
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 5_000, T0 + 9_000)
    say(world, T0)
    at(world, T0 + 4_000, writer)
    seen = []
    for now in (T0 + 4_999, T0 + 5_000, T0 + 8_999, T0 + 9_000):  # the writer sleeps
        world.clock.at_ms = now
        (status, *_) = reader.statuses(scope=Scope.ALL)
        assert status == shown(reader) == reader.states(scope=Scope.ALL)[0]
        seen.append((status.state, status.since_ms))
    assert seen == [(W, T0), (M, T0 + 5_000), (M, T0 + 5_000), (W, T0 + 9_000)]


def test_below_it_the_evidence_stays_in_sight_and_is_told(world: World) -> None:
    presence = presence_of(world)
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 1_000, T0 + 60_000, reason="timeout of the contractor")
    say(world, T0)
    at(world, T0 + 1_000, presence)
    before = newest(world)
    say(world, T0 + 2_000, Verdict.FAILED)
    at(world, T0 + 2_100, presence)
    assert told(world, before) == [("maintenance", "timeout of the contractor", T0 + 1_000)]
    found = presence.position("CAM-A", scope=Scope.ALL)
    assert [(f.function, f.state, f.cause, f.since_ms) for f in found.status.functions] == [(Function.LIVE, F, "timeout", T0 + 2_000)]
    device = next(layer for layer in found.layers if layer.layer is Layer.DEVICE)
    assert (device.is_ok, device.cause, device.since_ms) == (False, "timeout", T0 + 2_000)
    assert found.status.observed_at_ms == T0 + 2_000


def test_an_excuse_covers_only_what_does_not_work(world: World) -> None:
    presence = presence_of(world)
    exempt(world, ExemptionKind.EXCUSED, T0 + 1_000, T0 + 60_000, reason="power cut")
    say(world, T0)
    before = newest(world)
    at(world, T0 + 1_500, presence)
    say(world, T0 + 2_000, Verdict.FAILED, ttl=10_000)
    at(world, T0 + 2_100, presence)
    at(world, T0 + 12_000, presence)  # failed, then silent: one excuse
    say(world, T0 + 20_000)
    at(world, T0 + 20_100, presence)
    assert [state for state, _, _ in told(world, before)] == ["working", "excused", "excused", "working"]
    assert [since for _, _, since in told(world, before)] == [T0, T0 + 2_000, T0 + 2_000, T0 + 20_000]


def test_one_that_is_made_moved_and_withdrawn_meanwhile_shows_within_a_look(world: World) -> None:
    presence = presence_of(world)
    say(world, T0, Verdict.FAILED)
    at(world, T0 + 10_000, presence)
    before = newest(world)
    made = exempt(world, ExemptionKind.EXCUSED, T0 + 2_000, T0 + 40_000, reason="flood")
    at(world, T0 + 11_000, presence)
    moved = world.exemptions.move_end(made.id, T0 + 12_500, scope=Scope.ALL, by="chief")
    for now in (T0 + 12_000, T0 + 12_501):
        at(world, now, presence)
    again = world.exemptions.move_end(moved.id, T0 + 40_000, scope=Scope.ALL, by="chief")
    at(world, T0 + 14_000, presence)
    world.exemptions.withdraw(again.id, scope=Scope.ALL, by="chief")
    at(world, T0 + 15_000, presence)
    assert told(world, before) == [
        ("excused", "flood", T0 + 2_000),
        ("failed", "timeout", T0 + 12_500),
        ("excused", "flood", T0 + 2_000),
        ("failed", "timeout", T0),
    ]


def test_a_restart_in_the_middle_tells_nothing_however_long_the_reason(world: World) -> None:
    reason = "เปลี่ยนกล้อง " * 38
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 1_000, T0 + 60_000, reason=reason)
    say(world, T0)
    at(world, T0 + 1_100, presence_of(world))
    before = newest(world)
    assert told(world)[-1] == ("maintenance", reason.strip(), T0 + 1_000)
    again = presence_of(world)
    at(world, T0 + 3_000, again)
    assert told(world, before) == []
    at(world, T0 + 60_000, again)
    assert told(world, before) == [("working", "", T0 + 60_000)]


def test_what_began_and_ended_while_the_server_was_away_is_told_by_its_own_times(world: World) -> None:
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 1_000, T0 + 600_000)
    first = presence_of(world)
    say(world, T0)
    at(world, T0 + 100, first)
    before = newest(world)
    second = presence_of(world)
    at(world, T0 + 400_000, second)
    assert told(world, before) == [("maintenance", "new lens", T0 + 1_000)]
    third = presence_of(world)
    at(world, T0 + 900_000, third)
    assert told(world, before)[1:] == [("unknown", "no_evidence", T0 + 600_000)]


def test_while_nobody_watches_maintenance_is_known_all_the_same(world: World) -> None:
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 5_000, T0 + 60_000)
    say(world, T0)
    at(world, T0 + 100, presence_of(world))
    reader = presence_of(world)
    world.clock.at_ms = T0 + 101 + BLIND_AFTER_MS
    assert (shown(reader).state, shown(reader).since_ms, shown(reader).cause) == (M, T0 + 5_000, "new lens")
    assert [f.cause for f in shown(reader).functions] == ["server_blind"]
    world.clock.at_ms = T0 + 60_000
    assert (shown(reader).state, shown(reader).since_ms, shown(reader).cause) == (U, T0 + 60_000, "server_blind")


def test_the_reason_stays_within_the_scope(world: World) -> None:
    presence, other = presence_of(world), Scope("/bpp/n2/")
    exempt(world, ExemptionKind.MAINTENANCE, T0, T0 + 60_000, reason="secret works")
    at(world, T0 + 100, presence)
    assert [status.state for status in presence.statuses(scope=Scope(STATION))] == [M]
    assert [status.state for status in presence.statuses(scope=other)] == [U]
    with pytest.raises(NotFound):
        presence.position("CAM-A", scope=other)
    with world.database.read() as connection:
        news = changes.after(connection, 0, unit_path=other.unit_path)
    assert not any("secret" in str(change.data) for change in news)


def test_a_position_under_maintenance_may_be_retired(world: World) -> None:
    presence = presence_of(world)
    made = exempt(world, ExemptionKind.MAINTENANCE, T0, T0 + 60_000)
    at(world, T0 + 100, presence)
    world.change(made.position_id, retired_at_ms=T0 + 200)
    at(world, T0 + 300, presence)
    at(world, T0 + 60_001, presence)
    assert [status.code for status in presence.statuses(scope=Scope.ALL)] == ["CAM-B"]

"""Presence on real databases: what is told, what is answered, and what a restart changes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from firmware_agent.contract.ids import Channel, NodeId, SessionId
from firmware_agent.contract.messages import Reported, ReportedChannel, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import Function, Kind, Online, Verdict
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound
from fleet_server.ingest.model import Entry, Lane
from fleet_server.presence.layers import Layer
from fleet_server.presence.model import State
from fleet_server.presence.service import Presence
from fleet_server.presence.watch import BLIND_AFTER_MS
from fleet_server.storage import Database, changes
from tests.integration.uptime.world import NODES, STATION, T0, World, evidence


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.add_node()
    world.add_position("CAM-A")
    return world


def presence_of(world: World) -> Presence:
    return Presence(world.database, world.journal, world.directory, world.exemptions, world.clock, node_supervision_ms=60_000)


def news(world: World, after: int = 0) -> list[changes.Change]:
    with world.database.read() as connection:
        return changes.after(connection, after)


def told(world: World, kind: str, after: int = 0) -> list[tuple[str, object, object]]:
    word = "state" if kind == "position" else "is_online"
    return [(c.subject, c.data[word], c.data["cause"]) for c in news(world, after) if c.kind == kind]


def catch_up(presence: Presence) -> None:
    while not presence.advance():
        pass


def at(world: World, now: int, presence: Presence) -> None:
    world.clock.at_ms = now
    catch_up(presence)


def test_each_change_is_stored_and_told_in_one_step(world: World) -> None:
    presence = presence_of(world)
    catch_up(presence)
    assert told(world, "position") == [("CAM-A", "unknown", "never_seen")]
    assert told(world, "node") == [(NODES[0], False, "never_seen")]
    before = news(world)[-1].number
    world.beat([evidence("cam-a", at=T0 + 900)], wall=T0 + 1_000)
    at(world, T0 + 1_050, presence)
    assert told(world, "position", before) == [("CAM-A", "working", "")]
    assert told(world, "node", before) == [(NODES[0], True, "")]
    (change,) = [c for c in news(world, before) if c.kind == "position"]
    assert change.unit_path == STATION
    assert change.data | {"position": ""} == {
        "position": "",
        "code": "CAM-A",
        "kind": "camera",
        "state": "working",
        "cause": "",
        "since_ms": T0 + 900,
        "observed_at_ms": T0 + 900,
        "functions": {"live": {"state": "working", "cause": "", "since_ms": T0 + 900}},
    }
    (status,) = presence.statuses(scope=Scope.ALL)
    assert (status.state, status.since_ms, status.node, status.channel) == (State.WORKING, T0 + 900, NODES[0], "cam-a")
    assert status.is_commissioned


def test_more_of_the_same_is_not_told(world: World) -> None:
    presence = presence_of(world)
    for step in range(5):
        world.beat([evidence("cam-a", at=T0 + step * 10_000)], wall=T0 + step * 10_000)
        at(world, T0 + step * 10_000 + 50, presence)
    assert told(world, "position") == [("CAM-A", "working", "")]
    assert presence.nodes(scope=Scope.ALL)[0].last_heartbeat_at_ms is not None
    at(world, T0 + 60_000, presence)  # the sign of life refreshes what is only seen
    assert presence.nodes(scope=Scope.ALL)[0].last_heartbeat_at_ms == T0 + 40_050


def test_the_first_heartbeat_after_a_birth_is_seen_at_once(world: World) -> None:
    presence = presence_of(world)
    world.status(Online.ONLINE, received=T0)
    at(world, T0 + 10, presence)
    before = news(world)[-1].number
    (node,) = presence.nodes(scope=Scope.ALL)
    assert (node.is_online, node.last_heartbeat_at_ms) == (True, None)
    world.beat([evidence("cam-a", at=T0 + 300)], wall=T0 + 300)
    at(world, T0 + 360, presence)
    (node,) = presence.nodes(scope=Scope.ALL)
    assert node.last_heartbeat_at_ms == T0 + 350
    assert told(world, "node", before) == [(NODES[0], True, "")]
    world.beat([evidence("cam-a", at=T0 + 600)], wall=T0 + 600)
    at(world, T0 + 660, presence)
    assert len(told(world, "node", before)) == 1


def test_silence_is_told_when_the_evidence_ends(world: World) -> None:
    presence = presence_of(world)
    world.beat([evidence("cam-a", at=T0, ttl=20_000)], wall=T0)
    at(world, T0 + 50, presence)
    at(world, T0 + 19_000, presence)
    at(world, T0 + 20_000, presence)
    assert told(world, "position")[-2:] == [("CAM-A", "working", ""), ("CAM-A", "unknown", "no_evidence")]
    at(world, T0 + 60_050, presence)
    assert told(world, "node")[-1] == (NODES[0], False, "agent_silent")
    assert told(world, "position")[-1] == ("CAM-A", "unknown", "agent_silent")


def test_replay_and_late_messages_never_touch_live_state(world: World) -> None:
    presence = presence_of(world)
    world.beat([evidence("cam-a", at=T0)], wall=T0)
    at(world, T0 + 100, presence)
    before = news(world)[-1].number
    world.beat([evidence("cam-a", verdict=Verdict.FAILED, at=T0 + 50)], wall=T0 + 50, lane=Lane.REPLAY, received=T0 + 200)
    world.beat([evidence("cam-a", verdict=Verdict.FAILED, at=T0 + 60, ttl=100)], wall=T0 + 60, received=T0 + 300)
    at(world, T0 + 400, presence)
    assert told(world, "position", before) == []


def test_a_restart_in_which_nothing_changed_tells_nothing(world: World) -> None:
    first = presence_of(world)
    for step in range(3):
        world.beat([evidence("cam-a", at=T0 + step * 10_000)], wall=T0 + step * 10_000)
        at(world, T0 + step * 10_000 + 50, first)
    before = news(world)[-1].number
    again = presence_of(world)
    at(world, T0 + 25_000, again)
    assert news(world, before) == []
    assert again.statuses(scope=Scope.ALL)[0].since_ms == T0


def test_after_a_long_stop_what_is_not_proven_is_told_unknown_and_then_comes_back(world: World) -> None:
    first = presence_of(world)
    world.beat([evidence("cam-a", at=T0)], wall=T0)
    at(world, T0 + 50, first)
    before, back = news(world)[-1].number, T0 + 3_600_000
    again = presence_of(world)
    at(world, back, again)
    assert told(world, "position", before) == [("CAM-A", "unknown", "no_evidence")]
    assert told(world, "node", before) == []  # not called silent for a time in which nobody listened
    world.beat([evidence("cam-a", at=back + 5_000)], wall=back + 5_000)
    at(world, back + 6_000, again)
    assert told(world, "position", before)[-1] == ("CAM-A", "working", "")
    assert again.statuses(scope=Scope.ALL)[0].since_ms == back + 5_000


def test_while_nobody_watches_everything_is_unknown(world: World) -> None:
    presence = presence_of(world)
    world.beat([evidence("cam-a", at=T0, ttl=89_000)], wall=T0)
    at(world, T0 + 50, presence)
    reader = presence_of(world)
    world.clock.at_ms += BLIND_AFTER_MS
    assert reader.statuses(scope=Scope.ALL)[0].state is State.WORKING
    assert reader.blind_since_ms() is None
    world.clock.at_ms += 1
    (status,) = reader.statuses(scope=Scope.ALL)
    assert (status.state, status.cause, status.since_ms) == (State.UNKNOWN, "server_blind", T0 + 50)
    assert reader.blind_since_ms() == T0 + 50
    found = reader.position("CAM-A", scope=Scope.ALL)
    assert (found.layers[0].layer, found.layers[0].is_ok, found.layers[0].advice) == (Layer.SERVER, False, "wait_for_server")


def test_a_will_names_the_link_at_once_and_an_old_one_nothing(world: World) -> None:
    presence = presence_of(world)
    world.beat([evidence("cam-a", at=T0)], wall=T0, session="s2")
    world.status(Online.OFFLINE, session="s1", received=T0 + 60)
    at(world, T0 + 100, presence)
    assert presence.nodes(scope=Scope.ALL)[0].is_online
    world.status(Online.OFFLINE, session="s2", received=T0 + 200)
    at(world, T0 + 300, presence)
    assert not presence.nodes(scope=Scope.ALL)[0].is_online
    found = presence.position("CAM-A", scope=Scope.ALL)
    assert found.status.state is State.WORKING
    link = next(layer for layer in found.layers if layer.layer is Layer.LINK)
    assert (link.is_ok, link.cause, link.since_ms, link.advice) == (False, "node_offline", T0 + 200, "check_node_power_and_link")
    assert [layer.is_ok for layer in found.layers] == [True, False, None, None, None]


def test_a_node_that_says_it_is_simulated_is_marked(world: World) -> None:
    marked: list[NodeId] = []
    presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock, mark_simulated=marked.append)
    world.status(Online.ONLINE, received=T0)
    catch_up(presence)
    assert marked == []
    world.status(Online.ONLINE, received=T0, is_simulated=True)
    lamp = ReportedChannel(Channel("cam-a"), Kind.CAMERA, "fake", [Function.LIVE], is_simulated=True)
    reported = encode(Reported(1, SessionId("s1"), [lamp]))
    world.journal.append([Entry(T0, NODES[0], Lane.LIVE, Up.REPORTED, reported)])
    catch_up(presence)
    assert marked == [NODES[0], NODES[0]]


def test_a_retained_birth_marks_a_simulated_node_and_says_nothing_of_now(world: World) -> None:
    """A node that was born while the server was away tells of itself by what the broker kept."""
    marked: list[NodeId] = []
    presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock, mark_simulated=marked.append)
    world.status(Online.ONLINE, received=T0, is_simulated=True, lane=Lane.REPLAY)
    catch_up(presence)
    assert marked == [NODES[0]]
    assert presence.nodes(scope=Scope.ALL)[0].cause == "never_seen"


def test_while_no_message_can_come_the_server_is_blind_and_no_node_silent(world: World) -> None:
    listening = [True]
    presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock, is_listening=lambda: listening[0])
    world.beat([evidence("cam-a", at=T0)], wall=T0)
    at(world, T0 + 50, presence)
    listening[0] = False
    for now in range(T0 + 10_000, T0 + 200_000, 10_000):
        at(world, now, presence)
    assert presence.nodes(scope=Scope.ALL)[0].is_online
    assert presence.statuses(scope=Scope.ALL)[0].cause == "server_blind"
    listening[0] = True
    at(world, T0 + 200_000, presence)
    assert presence.statuses(scope=Scope.ALL)[0].cause == "no_evidence"
    at(world, T0 + 260_000, presence)
    assert presence.nodes(scope=Scope.ALL)[0].cause == "agent_silent"


def test_the_time_in_which_nobody_watched_adds_up_over_a_stop(world: World) -> None:
    listening = [True]
    first = presence_of(world)
    at(world, T0, first)
    at(world, T0 + BLIND_AFTER_MS, first)
    assert first.blind_ms() == 0
    second = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock, is_listening=lambda: listening[0])
    at(world, T0 + 60_000, second)
    assert second.blind_ms() == 50_000
    listening[0] = False
    for now in range(T0 + 61_000, T0 + 80_001, 1_000):
        at(world, now, second)
    assert second.blind_ms() == 70_000
    listening[0] = True
    at(world, T0 + 81_000, second)
    at(world, T0 + 83_000, second)
    assert second.blind_ms() == 71_000


def test_nothing_outside_the_scope_is_shown(world: World) -> None:
    world.add_position("CAM-B", unit="/bpp/n2/huaikhwang/", node=None)
    world.add_node(NODES[1], unit="/bpp/n2/huaikhwang/")
    presence, mine, other = presence_of(world), Scope("/bpp/n1/"), Scope("/bpp/n2/")
    catch_up(presence)
    assert [s.code for s in presence.statuses(scope=mine)] == ["CAM-A"]
    assert [s.code for s in presence.states(scope=other)] == ["CAM-B"]
    assert [n.node for n in presence.nodes(scope=other)] == [NODES[1]]
    with pytest.raises(NotFound, match="CAM-A"):
        presence.position("CAM-A", scope=other)


def test_states_come_in_pages_by_code_and_kind(world: World) -> None:
    for code in ("CAM-C", "CAM-B"):
        world.add_position(code, node=None)
    world.add_position("BTN", Kind.PANIC_BUTTON, functions=(Function.PRESS,), node=None)
    presence = presence_of(world)
    assert [s.code for s in presence.states(scope=Scope.ALL, limit=2)] == ["BTN", "CAM-A"]
    assert [s.code for s in presence.states(scope=Scope.ALL, after="CAM-A", limit=2)] == ["CAM-B", "CAM-C"]
    assert [s.code for s in presence.states(scope=Scope.ALL, kind=Kind.CAMERA, limit=2)] == ["CAM-A", "CAM-B"]


def test_a_position_that_is_retired_goes(world: World) -> None:
    presence = presence_of(world)
    catch_up(presence)
    position = next(iter(world.positions))
    world.change(position, retired_at_ms=world.clock.at_ms)
    catch_up(presence)
    assert presence.statuses(scope=Scope.ALL) == []
    with pytest.raises(NotFound):
        presence.position("CAM-A", scope=Scope.ALL)


def test_the_journal_of_an_unknown_node_is_passed_over(world: World) -> None:
    presence = presence_of(world)
    world.beat([evidence("cam-a", at=T0)], wall=T0, node=NODES[2])
    catch_up(presence)
    assert presence.lag() == 0
    assert presence.statuses(scope=Scope.ALL)[0].state is State.UNKNOWN


async def test_running_it_follows_the_journal(world: World) -> None:
    presence = presence_of(world)
    task = asyncio.create_task(presence.run(), name="presence")
    try:
        await until(lambda: bool(told(world, "position")))
        await asyncio.to_thread(world.beat, [evidence("cam-a", at=T0)], wall=T0)
        await until(lambda: ("CAM-A", "working", "") in told(world, "position"))
        world.clock.at_ms = T0 + 30_000
        await until(lambda: told(world, "position")[-1] == ("CAM-A", "unknown", "no_evidence"))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(400):
        if await asyncio.to_thread(is_so):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")

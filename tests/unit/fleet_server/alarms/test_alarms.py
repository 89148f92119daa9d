"""Each press is raised once, and answered by one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from firmware_agent.contract.ids import BootId, NodeId, StreamId, event_id
from firmware_agent.contract.messages import Clock, Heartbeat, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, EventType
from fleet_server.access import audit
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.alarms.model import Press, PressState
from fleet_server.alarms.service import Alarms
from fleet_server.errors import Conflict, Forbidden, NotFound
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane
from fleet_server.registry.model import Directory
from fleet_server.storage import Database, changes

CaughtUp = Callable[[], Alarms]
NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("f01c2a9b0d3e4f58")
UNIT = "/bpp/n1/lumpini/"
LUMPINI = Scope(UNIT)
DUSIT = Scope("/bpp/n1/dusit/")


def operator(name: str, scope: Scope = LUMPINI, role: Role = Role.CCOC_OPERATOR) -> Principal:
    return Principal(name, role, scope, "session")


def only(alarms: Alarms) -> Press:
    (press,) = alarms.recent(Scope.ALL)
    return press


def news(database: Database, kind: str) -> list[changes.Change]:
    with database.read() as connection:
        return [change for change in changes.after(connection, 0) if change.kind == kind]


class TestRaising:
    def test_press_is_raised_where_it_was(self, wire: Any, caught_up: CaughtUp, clock: Any) -> None:
        number = wire.event(ago_ms=150)
        press = only(caught_up())
        assert (press.event_id, press.position_code, press.unit_path, press.channel) == (number, "LMP-BTN", UNIT, "btn-1")
        assert (press.state, press.version, press.is_drill, press.is_late, press.is_dated) == (PressState.OPEN, 1, False, False, True)
        assert (press.received_at_ms, press.latency_ms) == (clock.now_ms(), 150)
        assert press.position is not None
        assert press.position.label_th == "ปุ่มเสา 12"
        clock.advance(5000)
        assert press.age_ms(clock.now_ms()) == 5150

    def test_same_event_again_is_the_same_press(self, wire: Any, caught_up: CaughtUp, database: Database) -> None:
        wire.event()
        caught_up()
        wire.event(again=1)
        wire.event(again=1, cause="sent again")
        assert len(caught_up().recent(Scope.ALL)) == 1
        assert len(news(database, "press")) == 1

    def test_drill_is_marked_and_shown_like_any_other(self, wire: Any, caught_up: CaughtUp) -> None:
        wire.event(is_drill=True)
        assert [press.is_drill for press in caught_up().open(LUMPINI)] == [True]
        assert caught_up().recent(LUMPINI, is_drill=False) == []

    def test_late_press_is_raised_with_its_age(self, wire: Any, caught_up: CaughtUp) -> None:
        wire.event(ago_ms=3_600_000)
        press = only(caught_up())
        assert (press.is_late, press.latency_ms, press.state) == (True, 3_600_000, PressState.OPEN)

    def test_press_in_the_replay_lane_is_late(self, wire: Any, caught_up: CaughtUp) -> None:
        wire.event(lane=Lane.REPLAY)
        assert only(caught_up()).is_late

    @pytest.mark.parametrize("quality", [ClockQuality.NONE, ClockQuality.HOLDOVER])
    def test_untrusted_clock_is_dated_by_receive_time(self, wire: Any, caught_up: CaughtUp, clock: Any, quality: ClockQuality) -> None:
        wire.event(quality=quality, wall_ms=0 + 10_000, ago_ms=500)
        press = only(caught_up())
        assert (press.occurred_at_ms, press.is_dated, press.latency_ms) == (clock.now_ms(), False, 0)

    def test_clock_from_2099_is_not_believed(self, wire: Any, caught_up: CaughtUp, clock: Any) -> None:
        wire.event(wall_ms=4_070_908_800_000)
        press = only(caught_up())
        assert (press.occurred_at_ms, press.is_dated) == (clock.now_ms(), False)

    def test_press_made_in_2099_is_as_old_as_its_boot_says(self, wire: Any, caught_up: CaughtUp, clock: Any) -> None:
        """It waited for the clock to be put right: nobody shall take it for a press of this moment."""
        wire.event(EventType.RELEASE, mono_ms=1_000_000)
        pressed_ms = clock.now_ms() - 600_000
        wire.event(wall_ms=4_070_908_800_000, mono_ms=400_000, ago_ms=0)
        press = only(caught_up())
        assert (press.occurred_at_ms, press.is_dated, press.is_late) == (pressed_ms, True, True)

    def test_boot_that_is_known_dates_an_untrusted_clock(self, wire: Any, caught_up: CaughtUp, clock: Any) -> None:
        wire.event(EventType.RELEASE, mono_ms=1_000_000)
        clock.advance(20_000)
        wire.event(quality=ClockQuality.NONE, wall_ms=5_000, mono_ms=1_012_000, ago_ms=1000)
        press = only(caught_up())
        assert press.is_dated
        assert press.latency_ms == 20_000 - 12_000 + 1000

    def test_nothing_happens_after_it_was_received(self, wire: Any, caught_up: CaughtUp, clock: Any) -> None:
        wire.event(wall_ms=clock.now_ms() + 30_000, ago_ms=0)
        assert only(caught_up()).latency_ms == 0

    def test_channel_without_position_is_the_nodes(self, wire: Any, caught_up: CaughtUp) -> None:
        wire.event(channel="btn-9")
        press = only(caught_up())
        assert (press.position_code, press.position, press.unit_path, press.channel) == (None, None, UNIT, "btn-9")

    def test_node_that_nobody_knows_is_shown_at_the_top(self, wire: Any, database: Database, journal: Journal, clock: Any) -> None:
        wire.event()
        alarms = Alarms(database, journal, lambda: Directory(0), clock)
        alarms.advance(journal.newest_id())
        assert only(alarms).unit_path == "/"

    def test_message_that_cannot_be_read_stops_nothing(self, wire: Any, caught_up: CaughtUp, journal: Journal, clock: Any) -> None:
        journal.append([Entry(clock.now_ms(), NODE, Lane.LIVE, Up.EVENT, b"{}", STREAM, 99)])
        wire.event()
        assert len(caught_up().recent(Scope.ALL)) == 1

    def test_other_events_are_news_and_no_press(self, wire: Any, caught_up: CaughtUp, database: Database) -> None:
        for kind in EventType:
            if kind is not EventType.PRESS:
                wire.event(kind, cause="wire_open")
        assert caught_up().recent(Scope.ALL) == []
        told = news(database, "event")
        assert [change.data["type"] for change in told] == ["stuck", "stuck_cleared", "fault", "fault_cleared", "tamper"]
        assert (told[0].data["position"], told[0].data["cause"], told[0].unit_path) == ("LMP-BTN", "wire_open", UNIT)

    def test_restart_goes_on_where_it_was(self, wire: Any, caught_up: CaughtUp, database: Database, journal: Journal, clock: Any) -> None:
        wire.event()
        wire.event(EventType.TAMPER)
        caught_up()
        wire.event()
        again = Alarms(database, journal, lambda: Directory(0), clock)
        assert again.advance(journal.newest_id()) == 1
        assert len(again.recent(Scope.ALL)) == 2
        assert len(news(database, "event")) == 1

    def test_two_processes_raise_each_press_once(self, wire: Any, database: Database, journal: Journal, clock: Any) -> None:
        one, other = (Alarms(database, journal, lambda: Directory(0), clock) for _ in range(2))
        for alarms in (one, other):
            alarms.advance(0)
        for _ in range(20):
            wire.event()
            wire.event(EventType.TAMPER)
        newest = journal.newest_id()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda alarms: alarms.advance(newest), (one, other)))
        assert len(one.recent(Scope.ALL)) == 20
        assert (len(news(database, "press")), len(news(database, "event"))) == (20, 20)

    def test_many_events_come_in_batches(self, wire: Any, caught_up: CaughtUp, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fleet_server.ingest.reader._BATCH", 3)
        numbers = [wire.event() for _ in range(8)]
        assert [press.event_id for press in reversed(caught_up().recent(Scope.ALL))] == numbers

    async def test_running_is_woken_by_the_commit(self, wire: Any, alarms: Alarms) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(alarms.run())
            try:
                async with asyncio.timeout(30):
                    for count in (1, 2):
                        await asyncio.to_thread(wire.event)
                        while len(await asyncio.to_thread(alarms.recent, Scope.ALL)) < count:  # noqa: ASYNC110  # the state is in a database
                            await asyncio.sleep(0.01)
            finally:
                running.cancel()

    def test_flood_of_heartbeats_moves_the_cursor_now_and_then(
        self, alarms: Alarms, journal: Journal, clock: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fleet_server.ingest.reader._REMEMBER_EVERY", 5)
        for seq in range(1, 9):
            boot = BootId("b")
            beat = Heartbeat(1, "s", STREAM, seq, 1, Clock(clock.now_ms(), 1, boot, ClockQuality.NTP), [])  # type: ignore[arg-type]  # a session is any text
            journal.append([Entry(clock.now_ms(), NODE, Lane.LIVE, Up.HEARTBEAT, encode(beat), STREAM, seq, 1)])
            alarms.advance(journal.newest_id())
        assert 0 < journal.cursor("alarms") <= journal.newest_id()


class TestAnswering:
    def test_first_one_has_it(self, wire: Any, caught_up: CaughtUp, clock: Any, database: Database) -> None:
        number = wire.event()
        alarms = caught_up()
        clock.advance(2000)
        press = alarms.acknowledge(number, operator("somchai"), expected_version=1)
        assert (press.state, press.acknowledged_by, press.acknowledged_at_ms, press.version) == (
            PressState.ACKNOWLEDGED,
            "somchai",
            clock.now_ms(),
            2,
        )
        with pytest.raises(Conflict, match="already acknowledged by somchai"):
            alarms.acknowledge(number, operator("malee"))
        assert alarms.acknowledge(number, operator("somchai")) == press
        assert alarms.open(LUMPINI) == []
        with database.read() as connection:
            acts = audit.entries(connection, scope=LUMPINI)
        assert [(act.action, act.actor, act.subject) for act in acts] == [("press.acknowledge", "somchai", number)]
        assert [change.data["state"] for change in news(database, "press")] == ["open", "acknowledged"]

    def test_two_at_once_one_wins(self, wire: Any, caught_up: CaughtUp) -> None:
        number = wire.event()
        alarms = caught_up()

        def take(name: str) -> str | None:
            try:
                return alarms.acknowledge(number, operator(name)).acknowledged_by
            except Conflict:
                return None

        with ThreadPoolExecutor(4) as pool:
            winners = [name for name in pool.map(take, "abcd") if name]
        assert winners == [only(alarms).acknowledged_by]

    def test_stale_version_is_refused(self, wire: Any, caught_up: CaughtUp) -> None:
        number = wire.event()
        with pytest.raises(Conflict, match="changed meanwhile"):
            caught_up().acknowledge(number, operator("somchai"), expected_version=7)

    def test_close_comes_after_acknowledge(self, wire: Any, caught_up: CaughtUp) -> None:
        number = wire.event()
        alarms = caught_up()
        with pytest.raises(Conflict, match="Nobody has acknowledged"):
            alarms.close(number, operator("somchai"))
        alarms.acknowledge(number, operator("somchai"))
        closed = alarms.close(number, operator("malee"))
        assert (closed.state, closed.closed_by, closed.acknowledged_by) == (PressState.CLOSED, "malee", "somchai")
        with pytest.raises(Conflict, match="already closed by malee"):
            alarms.acknowledge(number, operator("prasit"))

    def test_other_units_presses_do_not_exist(self, wire: Any, caught_up: CaughtUp) -> None:
        number = wire.event()
        alarms = caught_up()
        assert alarms.recent(DUSIT) == alarms.open(DUSIT) == []
        assert alarms.last(DUSIT) is None
        with pytest.raises(NotFound):
            alarms.press(number, DUSIT)
        with pytest.raises(NotFound):
            alarms.acknowledge(number, operator("x", DUSIT))
        assert only(alarms).state is PressState.OPEN

    @pytest.mark.parametrize("role", [role for role in Role if role.value in ("auditor", "vendor", "technician")])
    def test_roles_that_may_not(self, wire: Any, caught_up: CaughtUp, role: Role) -> None:
        number = wire.event()
        with pytest.raises(Forbidden):
            caught_up().acknowledge(number, operator("x", role=role))

    @pytest.mark.parametrize("number", ["", "x", "a:b:c", f"{NODE}:{STREAM}:0", event_id(NODE, STREAM, 404), "\x00"])
    def test_no_such_press(self, alarms: Alarms, number: str) -> None:
        with pytest.raises(NotFound):
            alarms.acknowledge(number, operator("x"))

    def test_pages_and_last(self, wire: Any, caught_up: CaughtUp) -> None:
        numbers = [wire.event() for _ in range(5)]
        alarms = caught_up()
        first = alarms.recent(LUMPINI, limit=2)
        second = alarms.recent(LUMPINI, limit=2, before=first[-1].number)
        assert [press.event_id for press in first + second] == list(reversed(numbers))[:4]
        last = alarms.last(LUMPINI)
        assert last is not None
        assert last.event_id == numbers[-1]

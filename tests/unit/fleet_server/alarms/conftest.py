"""A journal that events are put into, and the alarms that follow it."""

from collections.abc import Callable
from typing import Any

import pytest

from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId, event_id
from firmware_agent.contract.messages import Clock, Event, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Kind
from fleet_server.alarms.service import Alarms
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane, dated
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef, default_functions
from fleet_server.storage import Database

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("f01c2a9b0d3e4f58")
BOOT = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
UNIT = "/bpp/n1/lumpini/"

DIRECTORY = Directory(
    1,
    nodes=[NodeRef(NODE, "SSZ-1", UNIT)],
    positions=[
        PositionRef(
            id="p1",
            code="LMP-BTN",
            kind=Kind.PANIC_BUTTON,
            functions=default_functions(Kind.PANIC_BUTTON),
            unit_path=UNIT,
            zone_code="LMP",
            innovation_type="panic_button",
            supervision_ms=60_000,
            commissioned_at_ms=0,
            label_th="ปุ่มเสา 12",
        )
    ],
    installations=[InstallationRef(position_id="p1", node=NODE, channel=Channel("btn-1"), from_ms=0)],
)


class Wire:
    """Puts events into the journal as the receiver would."""

    def __init__(self, journal: Journal, clock: Any) -> None:
        self._journal = journal
        self._clock = clock
        self._n = 0

    def event(self, type_: EventType = EventType.PRESS, *, ago_ms: int = 150, again: int | None = None, **changes: Any) -> str:
        """Store one event that happened `ago_ms` ago; return its id."""
        if again is None:
            self._n += 1
        now_ms = self._clock.now_ms()
        quality = changes.pop("quality", ClockQuality.NTP)
        wall_ms = changes.pop("wall_ms", now_ms)
        lane = changes.pop("lane", Lane.LIVE)
        number = self._n if again is None else again
        message = Event(
            v=1,
            event_id=event_id(NODE, STREAM, number),
            session=SessionId("s"),
            channel=Channel(changes.pop("channel", "btn-1")),
            type=type_,
            occurred_at_ms=wall_ms - ago_ms,
            clock=Clock(wall_ms=wall_ms, mono_ms=changes.pop("mono_ms", 1_000_000), boot=BOOT, quality=quality),
            **changes,
        )
        at_ms = dated(message.clock, now_ms)
        self._journal.append(
            [Entry(now_ms, NODE, lane, Up.EVENT, encode(message), STREAM, number, None, at_ms, message.clock.mono_ms, BOOT)]
        )
        return message.event_id


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


@pytest.fixture
def wire(journal: Journal, clock: Any) -> Wire:
    return Wire(journal, clock)


@pytest.fixture
def alarms(database: Database, journal: Journal, clock: Any) -> Alarms:
    return Alarms(database, journal, lambda: DIRECTORY, clock)


@pytest.fixture
def caught_up(alarms: Alarms, journal: Journal) -> Callable[[], Alarms]:
    """Let the alarms take all that the journal has."""

    def catch_up() -> Alarms:
        while alarms.advance(journal.newest_id()):
            pass
        return alarms

    return catch_up

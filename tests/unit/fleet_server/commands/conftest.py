"""A lamp, a button and a camera on one node; a broker that can be away; a journal."""

from typing import Any

import pytest

from firmware_agent.contract.ids import BootId, Channel, CommandId, NodeId, SessionId
from firmware_agent.contract.messages import Clock, Command, Result, Status, decode, encode
from firmware_agent.contract.topics import Down, Up
from firmware_agent.contract.vocabulary import ClockQuality, Kind, Online, ResultStatus
from fleet_server.commands.courier import Courier
from fleet_server.commands.service import Commands
from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef, default_functions
from fleet_server.storage import Database

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
UNIT = "/bpp/n1/lumpini/"
CLOCK = Clock(wall_ms=1_795_485_600_000, mono_ms=1, boot=BootId("b"), quality=ClockQuality.NTP)


def position(code: str, kind: Kind, *, retired_at_ms: int | None = None) -> PositionRef:
    return PositionRef(
        id=code.lower(),
        code=code,
        kind=kind,
        functions=default_functions(kind),
        unit_path=UNIT,
        zone_code="LMP",
        innovation_type=None,
        supervision_ms=60_000,
        commissioned_at_ms=0,
        retired_at_ms=retired_at_ms,
    )


DIRECTORY = Directory(
    1,
    nodes=[NodeRef(NODE, "SSZ-1", UNIT)],
    positions=[
        position("LAMP", Kind.STREET_LIGHT),
        position("BTN", Kind.PANIC_BUTTON),
        position("CAM", Kind.CAMERA),
        position("BARE", Kind.STREET_LIGHT),
        position("OLD", Kind.STREET_LIGHT, retired_at_ms=5),
    ],
    installations=[
        InstallationRef(position_id=name, node=NODE, channel=Channel(f"{name}-1"), from_ms=0) for name in ("lamp", "btn", "cam", "old")
    ],
)


class Broker:
    """Keeps what was published; may be away."""

    def __init__(self) -> None:
        self.is_away = False
        self.published: list[tuple[NodeId, Command]] = []

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        if self.is_away:
            raise Transient("the broker does not answer")
        assert message is Down.COMMAND
        assert not retain
        self.published.append((node, decode(Command, payload)))


class Wire:
    """Puts a node's answers into the journal."""

    def __init__(self, journal: Journal, courier: Courier, clock: Any) -> None:
        self._journal = journal
        self._courier = courier
        self._clock = clock
        self.is_followed = True

    def result(self, command_id: str, status: ResultStatus = ResultStatus.SUCCEEDED, *, node: NodeId = NODE, **changes: Any) -> None:
        result = Result(
            v=1,
            command_id=CommandId(command_id),
            session=SessionId("s"),
            channel=Channel("lamp-1"),
            status=status,
            clock=CLOCK,
            **changes,
        )
        self.put(Up.RESULT, encode(result), node=node)

    def birth(self, *, lane: Lane = Lane.LIVE, status: Online = Online.ONLINE) -> None:
        self.put(Up.STATUS, encode(Status(v=1, status=status, session=SessionId("s"))), lane=lane)

    def put(self, topic: Up, payload: bytes, *, node: NodeId = NODE, lane: Lane = Lane.LIVE) -> None:
        self._journal.append([Entry(self._clock.now_ms(), node, lane, topic, payload)])
        while self.is_followed and self._courier.advance(self._journal.newest_id()):
            pass


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


@pytest.fixture
def commands(database: Database, clock: Any) -> Commands:
    return Commands(database, lambda: DIRECTORY, clock)


@pytest.fixture
def courier(database: Database, journal: Journal, broker: Broker, clock: Any) -> Courier:
    return Courier(database, journal, broker, clock)


@pytest.fixture
def wire(journal: Journal, courier: Courier, clock: Any) -> Wire:
    return Wire(journal, courier, clock)

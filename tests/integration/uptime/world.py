"""A small world for tests: a database, a journal, a registry that can be edited, and a clock that stands still."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId
from firmware_agent.contract.messages import Clock as NodeClock
from firmware_agent.contract.messages import Evidence, Heartbeat, Status, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, Function, Kind, Online, Verdict
from fleet_server.exemptions.service import Exemptions
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane, dated
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef
from fleet_server.storage import Database

HOUR = 3_600_000
T0 = 1_795_485_600_000 - 1_795_485_600_000 % HOUR
NODES = tuple(NodeId(f"00000000-0000-4000-8000-00000000000{i}") for i in range(1, 4))
STATION = "/bpp/n1/lumpini/"
SUPERVISION = {Kind.CAMERA: 90_000, Kind.PANIC_BUTTON: 60_000, Kind.STREET_LIGHT: 900_000, Kind.SENSOR: 300_000}


@dataclass
class StillClock:
    """A clock that tests set."""

    at_ms: int = T0

    def now_ms(self) -> int:
        return self.at_ms

    def mono_s(self) -> float:
        return self.at_ms / 1_000


def evidence(
    channel: str, function: Function = Function.LIVE, verdict: Verdict = Verdict.WORKING, *, at: int, ttl: int = 30_000, cause: str = ""
) -> Evidence:
    return Evidence(Channel(channel), function, verdict, at, ttl, cause)


@dataclass
class World:
    """Everything between the wire and the rooms under test."""

    database: Database
    clock: StillClock = field(default_factory=StillClock)
    nodes: dict[NodeId, NodeRef] = field(default_factory=dict)
    positions: dict[str, PositionRef] = field(default_factory=dict)
    installations: list[InstallationRef] = field(default_factory=list)
    version: int = 1
    seqs: dict[tuple[NodeId, StreamId], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.journal = Journal(self.database)
        self._directory: Directory | None = None
        self.exemptions = Exemptions(self.database, self.directory, self.clock)

    def directory(self) -> Directory:
        if self._directory is None or self._directory.version != self.version:
            self._directory = Directory(
                self.version, nodes=self.nodes.values(), positions=self.positions.values(), installations=self.installations
            )
        return self._directory

    # ---- registry ----

    def add_node(self, node: NodeId = NODES[0], *, unit: str = STATION, is_simulated: bool = False) -> NodeId:
        self.nodes[node] = NodeRef(node, f"SN-{node[-1]}", unit, is_simulated)
        self.version += 1
        return node

    def add_position(
        self,
        code: str,
        kind: Kind = Kind.CAMERA,
        *,
        node: NodeId | None = NODES[0],
        channel: str | None = None,
        functions: tuple[Function, ...] = (Function.LIVE,),
        commissioned: int | None = T0,
        installed: int = 0,
        unit: str = STATION,
        innovation_type: str | None = "cctv",
        supervision: int | None = None,
    ) -> str:
        name = f"10000000-0000-4000-8000-{len(self.positions):012d}"
        self.positions[name] = PositionRef(
            id=name,
            code=code,
            kind=kind,
            functions=functions,
            unit_path=unit,
            zone_code="Z1",
            innovation_type=innovation_type,
            supervision_ms=supervision or SUPERVISION[kind],
            commissioned_at_ms=commissioned,
        )
        if node is not None:
            self.install(name, node, channel or code.lower(), installed)
        self.version += 1
        return name

    def install(self, position: str, node: NodeId, channel: str, at: int) -> None:
        """Swap: what served the position until now ends."""
        self.installations = [replace(i, to_ms=at) if i.position_id == position and i.to_ms is None else i for i in self.installations]
        self.installations.append(InstallationRef(position_id=position, node=node, channel=Channel(channel), from_ms=at))
        self.version += 1

    def change(self, position: str, **fields: object) -> None:
        self.positions[position] = replace(self.positions[position], **fields)  # type: ignore[arg-type]  # tests name real fields
        self.version += 1

    # ---- wire ----

    def beat(
        self,
        said: Sequence[Evidence],
        *,
        node: NodeId = NODES[0],
        wall: int,
        received: int | None = None,
        lane: Lane = Lane.LIVE,
        quality: ClockQuality = ClockQuality.NTP,
        boot: str = "boot-1",
        mono: int | None = None,
        session: str = "s1",
    ) -> int:
        """Store one heartbeat; return its id."""
        stream = StreamId("00000000000000aa")
        seq = self.seqs[node, stream] = self.seqs.get((node, stream), 0) + 1
        clock = NodeClock(wall, wall - T0 + 10**9 if mono is None else mono, BootId(boot), quality)
        received = wall + 50 if received is None else received
        heartbeat = Heartbeat(1, SessionId(session), stream, seq, 1, clock, list(said))
        at_ms = dated(clock, received)
        payload = encode(heartbeat)
        entry = Entry(received, node, lane, Up.HEARTBEAT, payload, stream, seq, 1, at_ms, clock.mono_ms, clock.boot)
        self.journal.append([entry])
        return self.journal.newest_id()

    def status(
        self,
        online: Online,
        *,
        node: NodeId = NODES[0],
        session: str = "s1",
        received: int,
        wall: int | None = None,
        is_simulated: bool = False,
        lane: Lane = Lane.LIVE,
    ) -> None:
        clock = None if online is Online.OFFLINE else NodeClock(wall or received, 10**9, BootId("boot-s"), ClockQuality.NONE)
        status = Status(1, online, SessionId(session), "0.1.0" if online is Online.ONLINE else "", is_simulated, clock)
        self.journal.append([Entry(received, node, lane, Up.STATUS, encode(status))])

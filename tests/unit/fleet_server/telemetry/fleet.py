"""A small registry, rows of the journal, and a store that fails as told."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from firmware_agent.contract import ids
from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId
from firmware_agent.contract.messages import Clock, Event, Evidence, Health, Heartbeat, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Function, Kind, Verdict
from fleet_server.ingest.model import Entry, Lane, dated
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef
from fleet_server.telemetry.promise import Bucket, PartlyRejected, Point, TelemetryUnavailable

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("6f1c2a9b0d3e4f58")
BOOT = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
NOW = 1_795_485_600_000


def position(code: str, kind: Kind = Kind.CAMERA, functions: tuple[Function, ...] = (Function.LIVE,)) -> PositionRef:
    return PositionRef(
        id=f"id-{code}",
        code=code,
        kind=kind,
        functions=functions,
        unit_path="/bpp/n1/lumpini/",
        zone_code="LMP",
        innovation_type=None,
        supervision_ms=90_000,
        commissioned_at_ms=0,
        lat=13.7,
        lon=100.5,
    )


def directory(version: int = 1) -> Directory:
    positions = [position("CAM-A"), position("BTN-1", Kind.PANIC_BUTTON, (Function.PRESS,))]
    channels = {"CAM-A": "cam-1", "BTN-1": "btn-1"}
    installations = [InstallationRef(position_id=ref.id, node=NODE, channel=Channel(channels[ref.code]), from_ms=0) for ref in positions]
    return Directory(version, nodes=[NodeRef(NODE, "SSZ-1", "/bpp/n1/lumpini/")], positions=positions, installations=installations)


def clock(at_ms: int, quality: ClockQuality = ClockQuality.NTP, **changes: Any) -> Clock:
    mono_ms = changes.get("mono_ms", at_ms - NOW + 1_000_000_000)
    return Clock(wall_ms=changes.get("wall_ms", at_ms), mono_ms=mono_ms, boot=BOOT, quality=quality)


def evidence(at_ms: int, channel: str = "cam-1", **metrics: float) -> Evidence:
    return Evidence(Channel(channel), Function.LIVE, Verdict.WORKING, at_ms, 30_000, "", metrics)


def heartbeat(seq: int, *, at_ms: int | None = None, lane: Lane = Lane.LIVE, received_at_ms: int | None = None, **changes: Any) -> Entry:
    at_ms = NOW + seq * 1000 if at_ms is None else at_ms
    received_at_ms = at_ms + 50 if received_at_ms is None else received_at_ms
    message = Heartbeat(
        v=1,
        session=SessionId("s"),
        stream=STREAM,
        seq=seq,
        floor=1,
        clock=changes.get("clock", clock(at_ms)),
        evidence=changes.get("evidence", [evidence(at_ms - 100, fps=15.0, rtt_ms=2.0)]),
        health=changes.get("health", Health(cpu_percent=3.0, outbox_heartbeats=2)),
    )
    return Entry(
        received_at_ms,
        NODE,
        lane,
        Up.HEARTBEAT,
        encode(message),
        STREAM,
        seq,
        1,
        dated(message.clock, received_at_ms),
        message.clock.mono_ms,
        BOOT,
    )


def press(n: int, *, at_ms: int = NOW, lane: Lane = Lane.LIVE, **changes: Any) -> Entry:
    message = Event(
        1,
        ids.event_id(NODE, STREAM, n),
        SessionId("s"),
        Channel(changes.get("channel", "btn-1")),
        EventType.PRESS,
        at_ms,
        changes.get("clock", clock(at_ms + 4)),
        is_drill=changes.get("is_drill", False),
    )
    received_at_ms = changes.get("received_at_ms", at_ms + 50)
    return Entry(received_at_ms, NODE, lane, Up.EVENT, encode(message), STREAM, n, None, dated(message.clock, received_at_ms), 1, BOOT)


class MemoryTelemetry:
    """A `TelemetryStore` in memory: away, too small, or refusing lines as told."""

    def __init__(self) -> None:
        self.lines: dict[Bucket, dict[bytes, None]] = {}
        self.writes: list[int] = []
        self.is_away = False
        self.refused: set[bytes] = set()
        self.keeps_good_lines = True

    def write(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        self.writes.append(len(lines))
        if self.is_away:
            raise TelemetryUnavailable("away")
        bad = [line for line in lines if any(part in line for part in self.refused)]
        if not bad or self.keeps_good_lines:
            self.lines.setdefault(bucket, {}).update(dict.fromkeys(line for line in lines if line not in bad))
        if bad:
            raise PartlyRejected(f"partial write: refused dropped={len(bad)}")

    def of(self, bucket: Bucket, measurement: str = "") -> list[str]:
        return [line.decode() for line in self.lines.get(bucket, {}) if line.startswith(measurement.encode())]

    def query(
        self, bucket: Bucket, measurement: str, *, from_ms: int, to_ms: int, tags: Mapping[str, str] = MappingProxyType({})
    ) -> list[Point]:
        raise NotImplementedError

    def ping(self) -> None: ...

    def purge(self, now_ms: int) -> int:
        return 0

    def close(self) -> None: ...

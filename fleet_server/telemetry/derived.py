"""From rows of the journal to lines. Pure but for what it is given: the registry's snapshot and the offsets of boots."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from firmware_agent.contract.ids import BootId, Channel, NodeId
from firmware_agent.contract.messages import BadMessage, Clock, Event, Evidence, Heartbeat, decode
from firmware_agent.contract.topics import Up
from fleet_server.alarms.model import Moment, came_late, moment_of
from fleet_server.ingest.model import Lane, Row
from fleet_server.presence.dating import read_clock, shift_ms
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.telemetry.lines import flag, health_line, heartbeat_line, line, series, station_of, text
from fleet_server.telemetry.promise import Bucket

_FOREVER_MS: Final = 1 << 60

OffsetOf = Callable[[NodeId, BootId], int | None]
"""Wall minus monotonic clock of a boot, None while unknown."""


@dataclass(slots=True)
class Derived:
    """What a batch of rows gives."""

    lines: dict[Bucket, list[bytes]] = field(default_factory=dict)
    undated: int = 0
    """Heartbeats that nothing dates."""
    homeless: int = 0
    """Pieces of evidence of a channel where nothing was installed."""

    def add(self, bucket: Bucket, written: bytes) -> None:
        """Keep one line."""
        self.lines.setdefault(bucket, []).append(written)


class _Series(NamedTuple):
    """What the evidence of a channel is written to while one piece of hardware is on it."""

    from_ms: int
    to_ms: int
    position: PositionRef
    prefix: bytes


class Deriver:
    """Keeps the escaped prefixes of one version of the registry."""

    def __init__(self, directory: Directory, offset_of: OffsetOf) -> None:
        """`directory` names positions by the installation history."""
        self.directory = directory
        self._offset_of = offset_of
        self._prefixes: dict[tuple[str, str], bytes] = {}
        self._series: dict[tuple[NodeId, Channel], _Series] = {}

    def derive(self, rows: Iterable[Row]) -> Derived:
        """Return the lines of these rows, in their order."""
        derived = Derived()
        for row in rows:
            try:
                if row.topic is Up.HEARTBEAT:
                    self._heartbeat(row, row.heartbeat(), derived)
                elif row.topic is Up.EVENT:
                    self._event(row, decode(Event, row.payload), derived)
            except BadMessage:  # stored by a server that was more tolerant
                derived.undated += 1
        return derived

    def _heartbeat(self, row: Row, heartbeat: Heartbeat, derived: Derived) -> None:
        shift = self._shift(row, heartbeat.clock)
        if shift is None:
            derived.undated += 1
            return
        hot = derived.lines.setdefault(Bucket.HOT, [])
        for evidence in heartbeat.evidence:
            self._evidence(row, evidence, evidence.observed_at_ms + shift, derived, hot)
        node = self.directory.nodes.get(row.node)
        tags = {"node": row.node, "station": station_of(node.unit_path) if node is not None else "-"}
        prefix = self._prefix("node_health", row.node, tags)
        derived.add(Bucket.HOT, health_line(prefix, heartbeat.health, at_ms=max(0, heartbeat.clock.wall_ms + shift)))

    def _evidence(self, row: Row, evidence: Evidence, at_ms: int, derived: Derived, hot: list[bytes]) -> None:
        """The hot path: once for each device of each heartbeat."""
        if at_ms > row.received_at_ms:
            at_ms = row.received_at_ms  # nothing was observed after it was received
        if at_ms < 0:
            at_ms = 0
        found = self._series.get((row.node, evidence.channel))
        if found is None or not found.from_ms <= at_ms < found.to_ms:
            found = self._series_at(row.node, evidence.channel, at_ms)
            if found is None:
                derived.homeless += 1
                return
        is_late = row.lane is Lane.REPLAY or row.received_at_ms >= at_ms + evidence.ttl_ms
        hot.append(heartbeat_line(found.prefix, found.position.kind, evidence, seq=row.seq or 0, is_late=is_late, at_ms=at_ms))

    def _series_at(self, node: NodeId, channel: Channel, at_ms: int) -> "_Series | None":
        installation = self.directory.installation_at(node, channel, at_ms)
        position = None if installation is None else self.directory.positions.get(installation.position_id)
        if installation is None or position is None:
            return None
        to_ms = _FOREVER_MS if installation.to_ms is None else installation.to_ms
        found = _Series(installation.from_ms, to_ms, position, series("heartbeat", position_tags(position)))
        self._series[node, channel] = found
        return found

    def _event(self, row: Row, event: Event, derived: Derived) -> None:
        moment = moment_of(event, received_at_ms=row.received_at_ms, boot_offset_ms=self._offset_of(row.node, event.clock.boot))
        position = self.directory.position_at(row.node, event.channel, moment.at_ms)
        if position is None:
            derived.homeless += 1
            return
        tags = {"position": position.code, "station": station_of(position.unit_path), "kind": position.kind.value, "type": event.type.value}
        stored_ms = event.clock.wall_ms - event.occurred_at_ms
        fields = [
            ("event_id", text(event.event_id)),
            ("drill", flag(event.is_drill)),
            ("late", flag(came_late(moment, received_at_ms=row.received_at_ms, is_replay=row.lane is Lane.REPLAY))),
            ("node_ms", f"{stored_ms}i"),
        ]
        if moment.is_dated:
            fields.append(("link_ms", f"{row.received_at_ms - moment.at_ms - stored_ms}i"))
        prefix = self._prefix("event", f"{position.id} {event.type}", tags)
        derived.add(Bucket.EVENTS, line(prefix, fields, at_ms=_apart(moment, row.seq or 0)))

    def _shift(self, row: Row, clock: Clock) -> int | None:
        reading = read_clock(clock, row.received_at_ms)
        offset_ms = None if reading.is_believed else self._offset_of(row.node, clock.boot)
        return shift_ms(reading, received_at_ms=row.received_at_ms, is_replay=row.lane is Lane.REPLAY, offset_ms=offset_ms)

    def _prefix(self, measurement: str, key: str, tags: dict[str, str]) -> bytes:
        found = self._prefixes.get((measurement, key))
        if found is None:
            found = self._prefixes[measurement, key] = series(measurement, tags)
        return found


def position_tags(position: PositionRef) -> dict[str, str]:
    """Return the tags that name a position."""
    return {
        "position": position.code,
        "station": station_of(position.unit_path),
        "zone": position.zone_code,
        "kind": position.kind.value,
    }


def _apart(moment: Moment, number: int) -> int:
    """Return where an event's point stands. What its receipt alone dates comes in bursts: its number keeps each in a place of its own."""
    return moment.at_ms if moment.is_dated else max(0, moment.at_ms - 999 + number % 1000)

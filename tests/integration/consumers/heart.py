"""All that derives something from the journal, behind one door: what the wire lets in goes through every consumer."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import Down, Up, up
from fleet_server.access.model import Scope
from fleet_server.alarms.service import Alarms
from fleet_server.commands.courier import Courier
from fleet_server.errors import Transient
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.receiver import Received, Receiver
from fleet_server.presence.service import Presence
from fleet_server.telemetry.sqlite import SqliteTelemetry
from fleet_server.telemetry.writer import TelemetryWriter
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import NODES, World


class NoBroker:
    """Nothing is published here."""

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        raise Transient("no broker")


class Heart:
    """Receiver, journal and consumers of one world."""

    def __init__(self, world: World, folder: Path) -> None:
        metrics = IngestMetrics(CollectorRegistry())
        self.world = world
        self.bad = BadMessages(world.database, world.clock, metrics)
        self.receiver = Receiver(world.directory(), world.clock, self.bad, metrics)
        self.presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock)
        self.uptime = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0)
        self.alarms = Alarms(world.database, world.journal, world.directory, world.clock)
        self.courier = Courier(world.database, world.journal, NoBroker(), world.clock)
        self.series = SqliteTelemetry(folder / "telemetry.db")
        self.telemetry = TelemetryWriter(world.database, world.journal, world.directory, self.series, world.clock)

    def hear(self, kind: Up, payload: bytes, *, node: NodeId = NODES[0], is_retained: bool = False) -> Received | None:
        """Take a message as it comes from the broker; store what there is to store."""
        received = self.receiver.receive(up(node, kind), payload, is_retained=is_retained)
        if received is not None:
            held = {(node, stream): floor for stream, floor in received.held}
            self.world.journal.append(received.entries, held=held)
        return received

    def follow(self) -> None:
        """Let every consumer take all there is."""
        newest = self.world.journal.newest_id()
        steps: list[Callable[[], bool]] = [
            self.presence.advance,
            self.uptime.advance,
            lambda: not self.alarms.advance(newest),
            lambda: not self.courier.advance(newest),
            lambda: not self.telemetry.advance(),
        ]
        for step in steps:
            while not step():
                pass
        self.bad.flush()

    def look(self) -> None:
        """Ask each room what it shows."""
        self.presence.statuses(scope=Scope.ALL)
        self.presence.nodes(scope=Scope.ALL)
        self.alarms.recent(Scope.ALL)
        self.telemetry.lag()
        now_ms = self.world.clock.now_ms()
        self.uptime.usage(scope=Scope.ALL, from_ms=now_ms - 3_600_000, to_ms=now_ms)

    def close(self) -> None:
        self.series.close()

"""What the rooms write by the clock, from presence, ledger and exemptions to every store: live state, hours, blind time."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from firmware_agent.contract.vocabulary import Kind, Verdict
from fleet_server.access.model import Scope
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Lane
from fleet_server.main import Figures
from fleet_server.presence.service import Presence
from fleet_server.storage import Database
from fleet_server.telemetry.hours import rewriting
from fleet_server.telemetry.metrics import TelemetryMetrics
from fleet_server.telemetry.promise import Bucket, Point, TelemetryStore
from fleet_server.telemetry.service import Telemetry
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import HOUR, World, evidence

MINUTE = 60_000
START = int(time.time() * 1000) // HOUR * HOUR - 6 * HOUR
"""A full hour that every bucket still keeps."""


class Server:
    """The rooms between journal and store, on a clock that stands still; `restart` begins anew with what is stored."""

    def __init__(self, database: Database, store: TelemetryStore) -> None:
        self.world = world = World(database)
        self._store = store
        world.clock.at_ms = START
        world.add_node()
        for code in ("CAM-A", "CAM-B"):
            world.add_position(code, commissioned=START)
        self.restart()

    def restart(self) -> None:
        world = self.world
        self.presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock)
        self.uptime = Uptime(
            world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0, refolded=rewriting(world.clock)
        )
        self.telemetry = Telemetry(
            database=world.database,
            journal=world.journal,
            directory=world.directory,
            store=self._store,
            states=self.presence,
            ledger=self.uptime,
            figures=Figures(IngestMetrics(CollectorRegistry()), self.presence),
            metrics=TelemetryMetrics(CollectorRegistry()),
            clock=world.clock,
        )

    def says(self, at: int, *, dead: str = "") -> None:
        said = [evidence(c, verdict=Verdict.FAILED if c == dead else Verdict.WORKING, at=at, ttl=60_000) for c in ("cam-a", "cam-b")]
        self.world.beat(said, wall=at, mono=at - START + 1)

    def advance(self, now: int) -> None:
        self.world.clock.at_ms = now
        while not self.presence.advance():
            pass
        while not self.uptime.advance():
            pass
        self.telemetry._hours.advance()
        self.telemetry.write_states()

    def exempt(self, kind: ExemptionKind, from_ms: int, to_ms: int) -> Exemption:
        return self.world.exemptions.declare(
            "CAM-A", scope=Scope.ALL, kind=kind, from_ms=from_ms, to_ms=to_ms, reason="r", document="d", author="chief"
        )

    def rows(self, bucket: Bucket, measurement: str, *, from_ms: int = START, **tags: str) -> list[Point]:
        found = self._store.query(bucket, measurement, from_ms=from_ms, to_ms=self.world.clock.at_ms + 1, tags=tags)
        return sorted(found, key=lambda point: point.at_ms)

    def hour(self, start_ms: int) -> dict[str, int]:
        """Return the minutes of CAM-A in an hour, as the store has it."""
        (row,) = [row for row in self.rows(Bucket.COLD, "uptime_1h", position="CAM-A") if row.at_ms == start_ms]
        return {name[:-3]: int(value) // MINUTE for name, value in row.fields.items() if name.endswith("_ms") and value}


@pytest.fixture
def server(store: TelemetryStore, tmp_path: Path) -> Iterator[Server]:
    database = Database(f"sqlite:///{tmp_path}/fleet.db")
    database.create_all()
    yield Server(database, store)
    database.close()


def test_live_rows_show_maintenance_from_its_beginning_to_its_end(server: Server) -> None:
    server.exempt(ExemptionKind.MAINTENANCE, START + 2 * MINUTE, START + 4 * MINUTE)
    for minute in range(1, 6):
        server.says(START + minute * MINUTE, dead="cam-a" if minute == 3 else "")
        server.advance(START + minute * MINUTE + 100)
    rows = server.rows(Bucket.HOT, "position_state", position="CAM-A")
    assert [(row.fields["state"], row.fields["working"], row.fields["down"]) for row in rows] == [
        (0, 1, 0),
        (4, 0, 0),
        (4, 0, 0),
        (0, 1, 0),
        (0, 1, 0),
    ]
    stations = server.rows(Bucket.COLD, "station_state", kind=Kind.CAMERA.value)
    assert [(row.fields["total"], row.fields["working"], row.fields["maintenance"]) for row in stations] == [
        (2, 2, 0),
        (2, 1, 1),
        (2, 1, 1),
        (2, 2, 0),
        (2, 2, 0),
    ]


def test_an_excuse_shows_in_live_rows_only_while_the_device_does_not_work(server: Server) -> None:
    server.exempt(ExemptionKind.EXCUSED, START, START + 10 * MINUTE)
    for minute in range(1, 4):
        server.says(START + minute * MINUTE, dead="cam-a" if minute == 2 else "")
        server.advance(START + minute * MINUTE + 100)
    rows = server.rows(Bucket.HOT, "position_state", position="CAM-A")
    assert [row.fields["state"] for row in rows] == [0, 5, 0]
    assert [row.fields["excused"] for row in server.rows(Bucket.HOT, "station_state")] == [0, 1, 0]


def test_hours_are_written_again_after_each_change_of_an_exemption(server: Server) -> None:
    for minute in range(60):
        server.says(START + minute * MINUTE, dead="cam-a" if minute < 30 else "")
    now = START + HOUR + 3 * MINUTE
    server.advance(now)
    seen = [server.hour(START)]
    excuse = server.exempt(ExemptionKind.EXCUSED, START + 10 * MINUTE, START + 40 * MINUTE)
    changes = (
        lambda: None,
        lambda: server.world.exemptions.move_end(excuse.id, START + 15 * MINUTE, scope=Scope.ALL, by="chief"),
        lambda: server.world.exemptions.withdraw(excuse.id + 1, scope=Scope.ALL, by="chief"),
    )
    for change in changes:
        change()
        server.advance(now := now + 2_000)  # the ledger folds the hour again
        server.advance(now := now + 3 * MINUTE)
        seen.append(server.hour(START))
    assert seen == [
        {"working": 30, "failed": 30, "commissioned": 60},
        {"working": 30, "failed": 10, "excused": 20, "commissioned": 60},
        {"working": 30, "failed": 25, "excused": 5, "commissioned": 60},
        {"working": 30, "failed": 30, "commissioned": 60},
    ]


def test_hours_from_before_are_written_too(server: Server) -> None:
    """Evidence from before the server's first message, and a position that was in service long before it was entered."""
    server.world.change(next(iter(server.world.positions)), commissioned_at_ms=START - 2 * HOUR)
    server.says(START)
    now = START + HOUR + 3 * MINUTE
    server.advance(now)
    server.world.beat([evidence("cam-a", at=START - 2 * HOUR, ttl=60_000)], wall=START - 2 * HOUR, mono=1, received=now, lane=Lane.REPLAY)
    server.world.add_position("CAM-OLD", node=None, commissioned=START - 2 * HOUR)
    server.advance(now := now + 2_000)
    server.advance(now + MINUTE)
    hours = [(row.tags["position"], (row.at_ms - START) // HOUR) for row in server.rows(Bucket.COLD, "uptime_1h", from_ms=START - 9 * HOUR)]
    assert sorted(hours) == [(code, hour) for code in ("CAM-A", "CAM-B", "CAM-OLD") for hour in (-2, -1, 0) if code != "CAM-B" or hour == 0]


def test_the_stations_newest_hour_follows_a_change_and_a_restart(server: Server) -> None:
    maintenance = server.exempt(ExemptionKind.MAINTENANCE, START, START + 30 * MINUTE)
    for minute in range(60):
        server.says(START + minute * MINUTE, dead="cam-a" if minute < 30 else "")
    now = START + HOUR + 3 * MINUTE
    server.advance(now)
    server.world.exemptions.move_end(maintenance.id, START + 10 * MINUTE, scope=Scope.ALL, by="chief")
    server.advance(now := now + 2_000)
    server.advance(now := now + 3 * MINUTE)
    server.restart()
    server.advance(now + MINUTE)
    shares = [row.fields["uptime_1h"] for row in server.rows(Bucket.HOT, "station_state")]
    assert [shares[0], *shares[-2:]] == pytest.approx([90 / 90, 90 / 110, 90 / 110])


def test_the_servers_own_blind_time_is_written(server: Server) -> None:
    def figures(now: int) -> None:
        server.world.clock.at_ms = now
        while not server.presence.advance():
            pass
        server.telemetry.write_figures()

    for second in range(0, 60, 10):
        figures(START + second * 1_000)
    server.restart()  # after a stop of a minute and a half
    for second in range(140, 180, 10):
        figures(START + second * 1_000 + 500)
    rows = server.rows(Bucket.HOT, "fleet_server")
    assert [row.fields["blind_s"] for row in rows] == [0.0] * 6 + [90.5] + [0.0] * 3
    server.world.clock.at_ms = START + 200_500  # presence stands still, the rest goes on
    server.telemetry.write_figures()
    assert server.rows(Bucket.HOT, "fleet_server")[-1].fields["blind_s"] == 30.0

"""What `docs/operations.md` says of a lost InfluxDB: set the cursors back, and the journal fills a new one."""

import re
import time
from pathlib import Path

from sqlalchemy import text

from fleet_server.ingest.journal import Journal
from fleet_server.storage import Database
from fleet_server.telemetry.hours import CURSOR as HOURS
from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.writer import CURSOR, TelemetryWriter
from tests.compose_file import ROOT
from tests.servers.influxdb import Influx
from tests.unit.fleet_server.telemetry.fleet import directory, heartbeat


class WallClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_s(self) -> float:
        return time.monotonic()


def test_new_influxdb_is_filled_from_the_journal(tmp_path: Path, influxdb: Influx) -> None:
    (statement,) = re.findall(r"`(DELETE FROM [^`]*)`", (ROOT / "docs" / "operations.md").read_text())
    assert set(re.findall(r"'([\w-]+)'", statement)) == {CURSOR, HOURS}
    database = Database(f"sqlite:///{tmp_path}/fleet.db")
    database.create_all()
    journal, now_ms = Journal(database), WallClock().now_ms()
    journal.append([heartbeat(seq, at_ms=now_ms - 100_000 + seq * 1000) for seq in range(1, 51)])
    store = InfluxTelemetry(influxdb.url, org=influxdb.org, token=influxdb.token)
    with database.write() as connection:  # all of it went to the InfluxDB that is lost
        journal.set_cursor(connection, CURSOR, journal.newest_id())
    writer = TelemetryWriter(database, journal, directory, store, WallClock())
    assert writer.advance() == 0
    with database.write() as connection:
        connection.execute(text(statement))
    assert writer.advance() == 50
    assert len(store.query(Bucket.HOT, "node_health", from_ms=0, to_ms=now_ms)) == 50
    store.close()
    database.close()

"""The embedded store forgets by itself what InfluxDB's buckets forget: each bucket in its time, in small pieces."""

from pathlib import Path

import pytest

from fleet_server.telemetry import sqlite
from fleet_server.telemetry.lines import series
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.sqlite import SqliteTelemetry

NOW = 1_795_485_600_000
KEPT_MS = {Bucket.HOT: 1000, Bucket.COLD: 5000, Bucket.EVENTS: 5000}


def test_each_bucket_in_its_time_and_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PURGE_ROWS", 2)
    store = SqliteTelemetry(tmp_path / "telemetry.db", retention_ms=KEPT_MS)
    for bucket in Bucket:
        for device in ("a", "b"):
            prefix = series("heartbeat", {"position": device})
            store.write(bucket, [prefix + f"fps=1.0 {NOW - age}".encode() for age in (0, 1000, 1001, 5001)])
    assert [store.purge(NOW) for _ in range(4)] == [2 + 2 + 2, 2, 0, 0]
    left = {bucket: len(store.query(bucket, "heartbeat", from_ms=0, to_ms=NOW + 1)) for bucket in Bucket}
    assert left == {Bucket.HOT: 4, Bucket.COLD: 6, Bucket.EVENTS: 6}
    store.close()

"""Every store of time series; `tests/conftest.py` provides `influxdb`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.promise import TelemetryStore
from fleet_server.telemetry.sqlite import SqliteTelemetry


@pytest.fixture(params=["sqlite", "influxdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TelemetryStore]:
    store: TelemetryStore
    if request.param == "sqlite":
        store = SqliteTelemetry(tmp_path / "telemetry.db")
    else:
        influx = request.getfixturevalue("influxdb")
        store = InfluxTelemetry(influx.url, org=influx.org, token=influx.token)
    yield store
    store.close()

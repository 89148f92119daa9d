"""The whole road of `make grafana-smoke` but Grafana itself: an API that asks the real InfluxDB as Grafana's backend would."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.build import FOLDER
from grafana.smoke.checks import Patience
from grafana.smoke.questions import seconds
from tests.fake_grafana import MAIN_ORG, PASSWORD, USER, FakeGrafana, frame
from tests.integration.grafana import smoke
from tests.integration.grafana.backend import DataSource, Series, Span, expand
from tests.servers.influxdb import InfluxServer

PROVISIONED = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"][0]
PATIENCE = Patience(loaded_s=10, evaluated_s=30, fired_s=60, pause_s=0.1)
SILENT_S = 3


class Backend:
    """Asks InfluxDB with the token that the smoke has given to the data source."""

    def __init__(self, fake: FakeGrafana) -> None:
        self._fake = fake

    def ask(self, query: str, *, span_s: int, interval_s: int = 10) -> list[Series]:
        now_ms = time.time_ns() // 1_000_000
        source = self._source()
        try:
            return source.ask(expand(query, Span(now_ms - span_s * 1000, now_ms), interval_s=interval_s))
        finally:
            source.close()

    def result(self, query: Mapping[str, Any], start: str) -> dict[str, Any]:
        found = self.ask(query["query"], span_s=seconds(start.removeprefix("now-")), interval_s=query["intervalMs"] // 1000)
        return {"status": 200, "frames": [_frame(series) for series in found]}

    def is_silent(self) -> bool:
        return not self.ask('SELECT count("ingested") FROM "hot"."fleet_server" WHERE $timeFilter', span_s=SILENT_S)

    def _source(self) -> DataSource:
        (org,) = [org for number, org in self._fake.orgs.items() if number != MAIN_ORG]
        (given,) = org.sources.values()
        scheme, token = given["secureJsonData"]["httpHeaderValue1"].split()
        assert scheme == "Token"
        return DataSource(given["url"], PROVISIONED, token)


def _frame(series: Series) -> dict[str, Any]:
    columns = (
        [("Value", "string", series.column("value"))]
        if series.columns == ["key", "value"]
        else [("Time", "time", series.column(name)) if name == "time" else (name, "number", series.column(name)) for name in series.columns]
    )
    return frame(*columns)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, influxdb_server: InfluxServer) -> Iterator[FakeGrafana]:
    """The API at GRAFANA_URL; the smoke takes our InfluxDB."""
    (tmp_path / "credentials").write_text(f"{USER}:{PASSWORD}")
    with FakeGrafana() as fake:
        for name, value in {
            "GRAFANA_URL": fake.url,
            "GRAFANA_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "SSZ_TEST_INFLUXDB_URL": influxdb_server.url,
            "SSZ_TEST_INFLUXDB_TOKEN": influxdb_server.operator_token,
        }.items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def alarm(fake: FakeGrafana) -> Iterator[Callable[[], None]]:
    """Start what watches the server's rows and fires once when they stop."""
    ended = threading.Event()
    backend = Backend(fake)
    fake.ask = backend.result

    def watch() -> None:
        while not ended.wait(0.2):
            if any(org.policy for org in fake.orgs.values()) and backend.is_silent():
                fake.fire()
                return

    thread = threading.Thread(target=watch, name="alarm")
    yield thread.start
    ended.set()
    if thread.ident:
        thread.join()


def test_every_check_passes(fake: FakeGrafana, alarm: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    alarm()
    status = smoke.run(PATIENCE, interval_s=0.5)
    said = capsys.readouterr().err
    assert status == 0, said
    assert "FAILED" not in said
    assert set(fake.orgs) == {MAIN_ORG}, "nothing of ours is left"


def test_a_misspelt_measurement_is_found(fake: FakeGrafana, alarm: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    honest = fake.ask
    fake.ask = lambda query, start: honest({**query, "query": query["query"].replace('"hot"."node_health"', '"hot"."node_helth"')}, start)
    assert smoke.run(Patience(loaded_s=10, evaluated_s=30, fired_s=0, pause_s=0.1), interval_s=0.5) == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if "FAILED" in line]
    assert len(failed) == 5, "the four panels of nodes, and the alarm that nobody raises"
    assert all("no rows" in line for line in failed[:-1])

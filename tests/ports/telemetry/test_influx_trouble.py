"""InfluxDB when it is not well: what is the lines' fault, and what is waited out."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleet_server.ingest.journal import Journal
from fleet_server.storage import Database
from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.promise import Bucket, PartlyRejected, TelemetryUnavailable, TooLarge
from fleet_server.telemetry.writer import TelemetryWriter
from tests.servers.influxdb import Influx
from tests.servers.process import free_port
from tests.unit.fleet_server.telemetry.fleet import directory, heartbeat, press

LINE = b"m x=1i 1795485600000"


class Ailing(ThreadingHTTPServer):
    """Answers what it is told, as late as it is told."""

    daemon_threads = True
    status = 204
    delay_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Ailing

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay_s)
        body = b'{"code":"x","message":"said by the server"}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0" if self.server.status == 204 else str(len(body)))
        self.end_headers()
        if self.server.status != 204:
            self.wfile.write(body)

    do_GET = do_POST  # noqa: N815  # the name in the base class

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        pass


@pytest.fixture
def ailing() -> Iterator[Ailing]:
    server = Ailing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(ailing: Ailing) -> Iterator[InfluxTelemetry]:
    client = InfluxTelemetry(ailing.url, org="fleet", token="t", timeout_s=0.5)
    yield client
    client.close()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_this_is_waited_out(ailing: Ailing, client: InfluxTelemetry, status: int) -> None:
    ailing.status = status
    with pytest.raises(TelemetryUnavailable, match=f"{status}.*said by the server"):
        client.write(Bucket.HOT, [LINE])
    with pytest.raises(TelemetryUnavailable, match=str(status)):
        client.ping()


@pytest.mark.parametrize("status", [400, 422])
def test_this_is_the_lines_fault(ailing: Ailing, client: InfluxTelemetry, status: int) -> None:
    ailing.status = status
    with pytest.raises(PartlyRejected, match="said by the server"):
        client.write(Bucket.HOT, [LINE])


def test_write_that_is_too_large_is_to_be_split(ailing: Ailing, client: InfluxTelemetry) -> None:
    ailing.status = 413
    with pytest.raises(TooLarge):
        client.write(Bucket.HOT, [LINE])


def test_slow_server_is_waited_out(ailing: Ailing, client: InfluxTelemetry) -> None:
    ailing.delay_s = 1.5
    with pytest.raises(TelemetryUnavailable, match="does not answer"):
        client.write(Bucket.HOT, [LINE])
    with pytest.raises(TelemetryUnavailable, match="does not answer"):
        client.query(Bucket.HOT, "m", from_ms=0, to_ms=1)


def test_server_that_is_not_there_is_waited_out() -> None:
    client = InfluxTelemetry(f"http://127.0.0.1:{free_port()}", org="fleet", token="t", timeout_s=2)
    with pytest.raises(TelemetryUnavailable, match="does not answer"):
        client.write(Bucket.HOT, [LINE])
    with pytest.raises(TelemetryUnavailable, match="does not answer"):
        client.ping()
    client.close()


def test_wrong_token_and_missing_bucket_are_waited_out(influxdb: Influx) -> None:
    stranger = InfluxTelemetry(influxdb.url, org=influxdb.org, token="wrong")
    with pytest.raises(TelemetryUnavailable, match="401"):
        stranger.write(Bucket.HOT, [LINE])
    with pytest.raises(TelemetryUnavailable, match="401"):
        stranger.ping()
    stranger.close()
    elsewhere = InfluxTelemetry(influxdb.url, org="nobody", token=influxdb.token)
    with pytest.raises(TelemetryUnavailable, match=r"404|403"):
        elsewhere.write(Bucket.HOT, [LINE])
    elsewhere.close()


class WallClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_s(self) -> float:
        return time.monotonic()


def test_outage_in_the_middle_loses_nothing(database_of_journal: Database, influxdb: Influx) -> None:
    """The journal is read on while InfluxDB comes and goes, and holds one refused type; afterwards all the rest is there."""
    journal = Journal(database_of_journal)
    now_ms = WallClock().now_ms()
    journal.append([heartbeat(seq, at_ms=now_ms - 500_000 + seq * 100) for seq in range(1, 301)] + [press(1, at_ms=now_ms - 1000)])
    here = InfluxTelemetry(influxdb.url, org=influxdb.org, token=influxdb.token)
    away = InfluxTelemetry(f"http://127.0.0.1:{free_port()}", org=influxdb.org, token="t", timeout_s=2)
    here.write(Bucket.EVENTS, [b"event,kind=x drill=1i %d" % now_ms])  # somebody spoilt the type of a field

    def writer(store: InfluxTelemetry) -> TelemetryWriter:
        return TelemetryWriter(database_of_journal, journal, directory, store, WallClock())

    assert writer(here).advance(limit=100) == 100
    for _ in range(2):
        with pytest.raises(TelemetryUnavailable):
            writer(away).advance(limit=100)
    assert [writer(here).advance(limit=100) for _ in range(4)] == [100, 100, 1, 0]
    points = here.query(Bucket.HOT, "heartbeat", from_ms=now_ms - 600_000, to_ms=now_ms, tags={"position": "CAM-A"})
    assert [point.fields["seq"] for point in points] == list(range(1, 301))
    assert points[0].tags == {"position": "CAM-A", "station": "bpp.n1.lumpini", "zone": "LMP", "kind": "camera"}
    assert len(here.query(Bucket.HOT, "node_health", from_ms=now_ms - 600_000, to_ms=now_ms)) == 300
    lag = writer(here).lag()
    assert (lag.rows, lag.dead_letters) == (0, 1)
    here.close()
    away.close()


@pytest.fixture
def database_of_journal(tmp_path: object) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/fleet.db")
    database.create_all()
    yield database
    database.close()

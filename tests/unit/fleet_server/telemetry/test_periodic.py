"""Rows for the silent ones, stations, hours and the server itself."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from firmware_agent.contract.vocabulary import Kind
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound, Transient
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import State
from fleet_server.storage import Database
from fleet_server.telemetry.hours import rewriting
from fleet_server.telemetry.metrics import TelemetryMetrics
from fleet_server.telemetry.periodic import server_line
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.service import Telemetry
from fleet_server.telemetry.sqlite import parse
from fleet_server.uptime.model import HOUR_MS, Parts
from tests.unit.fleet_server.telemetry.fleet import NOW, MemoryTelemetry, directory, heartbeat


class Hour(NamedTuple):
    function: str
    hour_ms: int
    parts: Parts


class Sources:
    """States, ledger and figures as told."""

    def __init__(self) -> None:
        self.states = {"CAM-A": State.WORKING, "BTN-1": State.UNKNOWN}
        self.ledger: dict[str, list[Hour]] = {}
        self.waiting: list[int] = []
        self.closed: int | None = None

    def statuses(self, *, scope: Scope) -> list[PositionStatus]:
        assert scope == Scope.ALL
        refs = {ref.code: ref for ref in directory().positions.values()}
        return [
            PositionStatus(
                position_id=refs[code].id,
                code=code,
                kind=refs[code].kind,
                unit_path=refs[code].unit_path,
                zone_code="LMP",
                state=state,
                cause="",
                since_ms=None,
                observed_at_ms=None if state is State.UNKNOWN else NOW - 2500,
                functions=(),
                node=None,
                channel=None,
                is_simulated=False,
                is_commissioned=True,
            )
            for code, state in self.states.items()
        ]

    def hours(self, code: str, *, scope: Scope, from_ms: int, to_ms: int) -> Sequence[Hour]:
        if code == "GONE":
            raise NotFound(code)
        return [hour for hour in self.ledger.get(code, []) if from_ms <= hour.hour_ms < to_ms]

    def closed_ms(self) -> int:
        if self.closed is not None:
            return self.closed
        return max((hour.hour_ms + HOUR_MS for hours in self.ledger.values() for hour in hours), default=0)

    def backlog(self, *, from_ms: int = 0) -> int:
        return sum(hour_ms >= from_ms for hour_ms in self.waiting)

    def figures(self) -> dict[str, int | float]:
        return {"ingested": 5, "journal_ms": 2.0}


class Bench:
    def __init__(self, database: Database, clock: Any) -> None:
        self.sources = Sources()
        self.store = MemoryTelemetry()
        self.journal = Journal(database)
        self.prometheus = CollectorRegistry()
        self.telemetry = Telemetry(
            database=database,
            journal=self.journal,
            directory=directory,
            store=self.store,
            states=self.sources,
            ledger=self.sources,
            figures=self.sources,
            metrics=TelemetryMetrics(self.prometheus),
            clock=clock,
        )

    def lines(self, bucket: Bucket, measurement: str) -> list[str]:
        return self.store.of(bucket, measurement)


@pytest.fixture
def bench(database: Database, clock: Any) -> Bench:
    return Bench(database, clock)


def test_every_position_has_a_row_also_the_silent_one(bench: Bench) -> None:
    bench.telemetry.write_states()
    camera, button = sorted(bench.lines(Bucket.HOT, "position_state"))
    assert camera == (
        "position_state,kind=camera,position=CAM-A,station=bpp.n1.lumpini,zone=LMP "
        f"working=1i,down=0i,state=0i,lat=13.7,lon=100.5,age_s=2.5 {NOW}"
    )
    assert button == (
        "position_state,kind=panic_button,position=BTN-1,station=bpp.n1.lumpini,zone=LMP "
        f"working=0i,down=1i,state=3i,lat=13.7,lon=100.5 {NOW}"
    )


def test_stations_are_counted_by_kind_in_both_buckets(bench: Bench) -> None:
    bench.telemetry.write_states()
    lines = bench.lines(Bucket.HOT, "station_state")
    assert lines == bench.lines(Bucket.COLD, "station_state")
    assert lines[0] == (
        "station_state,kind=camera,station=bpp.n1.lumpini "
        f"total=1i,working=1i,degraded=0i,failed=0i,unknown=0i,maintenance=0i,excused=0i {NOW}"
    )


def test_server_tells_how_it_does(bench: Bench) -> None:
    bench.journal.append([heartbeat(1)])
    bench.telemetry.write_figures()
    (line,) = bench.lines(Bucket.HOT, "fleet_server")
    assert parse(line.encode())[2] == {
        "ingested": 5,
        "journal_ms": 2.0,
        "influx_lag_s": 0.0,
        "influx_lag_rows": 1,
        "dead_letters": 0,
    }
    assert bench.prometheus.get_sample_value("ssz_telemetry_lag_rows") == 1


def test_ingest_gives_figures_of_lasting_types() -> None:
    metrics = IngestMetrics(CollectorRegistry())
    types = {name: type(value) for name, value in metrics.figures().items()}
    metrics.commits.observe(0.004)
    metrics.stored.inc(3)
    figures = metrics.figures()
    assert (figures["ingested"], figures["journal_ms"]) == (3, 4.0)
    assert {name: type(value) for name, value in figures.items()} == types
    assert server_line("a", figures, at_ms=1).startswith(b"fleet_server,instance=a duplicates=0i,")


def hour(start_ms: int, **parts: int) -> Hour:
    return Hour("live", start_ms, Parts(**parts))


def test_closed_hours_are_written_once_and_add_up(bench: Bench, clock: Any) -> None:
    start_ms = NOW // HOUR_MS * HOUR_MS - HOUR_MS
    bench.sources.ledger["CAM-A"] = [hour(start_ms, working_ms=3_000_000, unknown_ms=600_000, replayed_ms=5)]
    bench.telemetry._hours.advance()
    (line,) = bench.lines(Bucket.COLD, "uptime_1h")
    head, at_ms, fields = parse(line.encode())
    assert head == b"uptime_1h,function=live,kind=camera,position=CAM-A,station=bpp.n1.lumpini"
    assert at_ms == start_ms
    assert fields["commissioned_ms"] == 3_600_000
    assert fields["coverage"] == pytest.approx(3_000_000 / 3_600_000)
    bench.store.writes.clear()
    bench.telemetry._hours.advance()
    assert bench.store.writes == []
    bench.telemetry.write_states()
    assert "uptime_1h=0.8333" in bench.lines(Bucket.HOT, "station_state")[0]


def test_hours_wait_in_the_ledger_and_not_in_memory(bench: Bench) -> None:
    bench.sources.ledger["CAM-A"] = [hour(NOW // HOUR_MS * HOUR_MS - HOUR_MS, working_ms=1)]
    bench.store.is_away = True
    for _ in range(3):
        with pytest.raises(Transient):
            bench.telemetry._hours.advance()
    bench.store.is_away = False
    bench.telemetry.write_figures()
    assert bench.lines(Bucket.COLD, "uptime_1h") == []
    bench.telemetry._hours.advance()
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 1


def test_hours_wait_until_they_are_folded_and_for_no_older_ones(bench: Bench) -> None:
    newest_ms = NOW // HOUR_MS * HOUR_MS - HOUR_MS
    bench.sources.ledger["CAM-A"] = [hour(newest_ms - HOUR_MS, working_ms=1)]
    bench.telemetry._hours.advance()
    bench.sources.ledger["CAM-A"].append(hour(newest_ms, working_ms=2))
    bench.sources.waiting = [newest_ms, newest_ms - 99 * HOUR_MS]
    bench.telemetry._hours.advance()
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 1
    bench.sources.waiting.remove(newest_ms)
    bench.telemetry._hours.advance()
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 2


def test_hours_that_the_ledger_tells_of_are_written_again(bench: Bench, database: Database, clock: Any) -> None:
    start_ms = NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS
    hours = bench.sources.ledger["CAM-A"] = [hour(start_ms + n * HOUR_MS, unknown_ms=3_600_000) for n in range(2)]
    bench.telemetry._hours.advance()
    tell = rewriting(clock)
    with database.write() as connection:
        tell(connection, {("id-CAM-A", start_ms), ("id-CAM-A", start_ms + HOUR_MS), ("id-GONE", start_ms)})
    hours[:] = [hour(start_ms + n * HOUR_MS, unknown_ms=1_800_000, working_ms=1_800_000) for n in range(2)]
    clock.advance(1)
    bench.telemetry._hours.advance()
    assert ["working_ms=1800000i" in line for line in bench.lines(Bucket.COLD, "uptime_1h")] == [False, False, True, True]
    bench.telemetry.write_states()
    assert "uptime_1h=0.5" in bench.lines(Bucket.HOT, "station_state")[0]
    bench.store.writes.clear()
    bench.telemetry._hours.advance()
    assert bench.store.writes == []


def test_an_hour_that_closes_while_hours_are_written_waits_for_the_next_look(bench: Bench) -> None:
    start_ms = NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS
    hours = bench.sources.ledger["CAM-A"] = [hour(start_ms, working_ms=3_600_000)]
    bench.sources.closed = start_ms + HOUR_MS
    hours.append(hour(start_ms + HOUR_MS, unknown_ms=3_600_000))  # folded for this position, not yet for the others
    bench.telemetry._hours.advance()
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 1
    bench.sources.ledger["BTN-1"] = [hour(start_ms + HOUR_MS, unknown_ms=3_600_000)]
    bench.sources.closed = start_ms + 2 * HOUR_MS
    bench.telemetry._hours.advance()
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 3


def test_a_new_hour_that_the_ledger_tells_of_is_written_once(bench: Bench, database: Database, clock: Any) -> None:
    start_ms = NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS
    bench.sources.ledger["CAM-A"] = [hour(start_ms, unknown_ms=3_600_000)]
    with database.write() as connection:
        rewriting(clock)(connection, {("id-CAM-A", start_ms), ("id-CAM-A", start_ms + HOUR_MS)})
    clock.advance(1)
    for _ in range(2):
        bench.telemetry._hours.advance()
        clock.advance(60_000)
    assert len(bench.lines(Bucket.COLD, "uptime_1h")) == 1
    assert len(bench.store.writes) == 1


def test_kinds_have_words_for_tags() -> None:
    assert [kind.value for kind in Kind] == ["camera", "panic_button", "street_light", "sensor"]

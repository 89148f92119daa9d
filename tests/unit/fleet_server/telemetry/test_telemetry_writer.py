"""The journal is the spool: whatever the store does, each row arrives, and one bad line harms no other."""

from typing import Any

import pytest

from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.storage import Database
from fleet_server.telemetry import store as tables
from fleet_server.telemetry import writer as writing
from fleet_server.telemetry.delivery import MAX_SPLITS, deliver
from fleet_server.telemetry.promise import Bucket, PartlyRejected
from fleet_server.telemetry.writer import TelemetryWriter
from tests.unit.fleet_server.telemetry.fleet import NOW, MemoryTelemetry, directory, heartbeat, press


class Bench:
    def __init__(self, database: Database, clock: Any) -> None:
        self.database = database
        self.journal = Journal(database)
        self.store = MemoryTelemetry()
        self.writer = TelemetryWriter(database, self.journal, directory, self.store, clock)

    def letters(self) -> list[tuple[int, str, str, bytes]]:
        with self.database.read() as connection:
            return tables.letters(connection)


@pytest.fixture
def bench(database: Database, clock: Any) -> Bench:
    clock.advance(3_600_000)
    return Bench(database, clock)


def test_rows_arrive_once_and_in_batches(bench: Bench) -> None:
    bench.journal.append([*(heartbeat(seq) for seq in range(1, 11)), press(1)])
    assert [bench.writer.advance(limit=4) for _ in range(4)] == [4, 4, 3, 0]
    assert len(bench.store.of(Bucket.HOT, "heartbeat")) == 10
    assert len(bench.store.of(Bucket.EVENTS, "event")) == 1
    assert bench.writer.lag() == writing.Lag(0, 0.0, 0, 0, NOW + 3_600_000, "")


def test_cursor_stays_while_the_store_is_away(bench: Bench) -> None:
    bench.journal.append([heartbeat(seq) for seq in range(1, 11)])
    bench.store.is_away = True
    for _ in range(3):
        with pytest.raises(Transient):
            bench.writer.advance()
    lag = bench.writer.lag()
    assert (lag.rows, lag.failure, lag.last_success_at_ms) == (10, "away", None)
    assert lag.seconds == pytest.approx(3600 - 1.05)
    bench.store.is_away = False
    assert bench.writer.advance() == 10
    assert len(bench.store.of(Bucket.HOT, "heartbeat")) == 10
    assert bench.writer.lag().failure == ""


def test_restart_goes_on_where_it_was(bench: Bench, clock: Any) -> None:
    bench.journal.append([heartbeat(1)])
    bench.writer.advance()
    bench.journal.append([heartbeat(2)])
    again = TelemetryWriter(bench.database, bench.journal, directory, bench.store, clock)
    assert again.advance() == 1


def test_refused_line_is_kept_with_its_reason_and_the_others_arrive(bench: Bench) -> None:
    bench.journal.append([heartbeat(seq) for seq in range(1, 101)])
    bench.store.refused = {b"seq=37i", b"seq=74i"}
    assert bench.writer.advance() == 100
    assert len(bench.store.of(Bucket.HOT, "heartbeat")) == 98
    assert sorted(line.split(b"seq=")[1][:2] for _, _, _, line in bench.letters()) == [b"37", b"74"]
    assert {reason for _, _, reason, _ in bench.letters()} == {"partial write: refused dropped=1"}
    assert bench.writer.lag().dead_letters == 2


def test_store_that_refuses_a_write_as_a_whole_still_gets_the_others(bench: Bench) -> None:
    bench.journal.append([heartbeat(seq) for seq in range(1, 101)])
    bench.store.refused, bench.store.keeps_good_lines = {b"seq=37i"}, False
    bench.writer.advance()
    assert len(bench.store.of(Bucket.HOT, "heartbeat")) == 99


def test_looking_for_bad_lines_is_bounded(bench: Bench) -> None:
    bench.store.refused = {b"heartbeat"}
    letters = deliver(bench.store, Bucket.HOT, [b"heartbeat x=1i %d" % (NOW + n) for n in range(5000)], now_ms=NOW)
    assert len(letters) == 5000
    assert len(bench.store.writes) <= MAX_SPLITS + 2


def test_dead_letters_are_bounded_and_all_counted(bench: Bench) -> None:
    with bench.database.write() as connection:
        for n in range(3):
            tables.bury(connection, at_ms=n, bucket="fleet/hot", letters=[(b"line", "why\0")] * 600)
        assert tables.buried(connection) == 1800
        assert len(tables.letters(connection, limit=5000)) == 1000


def test_periodic_lines_wait_in_order_and_the_oldest_give_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_WAITING_LINES", 3)
    bench.store.is_away = True
    for n in range(5):
        with pytest.raises(Transient):
            bench.writer.write({Bucket.HOT: [b"fleet_server x=1i %d" % (NOW + n)]})
    bench.store.is_away = False
    bench.writer.write({Bucket.HOT: [b"fleet_server x=1i %d" % (NOW + 5)]})
    assert bench.store.of(Bucket.HOT) == [f"fleet_server x=1i {NOW + n}" for n in (3, 4, 5)]
    assert bench.writer.lag().dropped == 3


def test_refused_periodic_line_does_not_hold_up_the_next(bench: Bench) -> None:
    bench.store.refused = {b"x=1i"}
    bench.writer.write({Bucket.HOT: [b"fleet_server x=1i %d" % NOW, b"fleet_server x=2i %d" % NOW]})
    assert bench.store.of(Bucket.HOT) == [f"fleet_server x=2i {NOW}"]
    assert len(bench.letters()) == 1


def test_full_store_is_no_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes single lines only is filled line by line."""
    write = bench.store.write

    def small(bucket: Bucket, lines: list[bytes]) -> None:
        if len(lines) > 1:
            raise PartlyRejected("one by one, please")
        write(bucket, lines)

    monkeypatch.setattr(bench.store, "write", small)
    assert deliver(bench.store, Bucket.HOT, [b"m x=1i %d" % (NOW + n) for n in range(20)], now_ms=NOW) == []

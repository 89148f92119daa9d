"""What every store of time series promises."""

import time

import pytest

from fleet_server.telemetry.delivery import deliver
from fleet_server.telemetry.lines import series, text
from fleet_server.telemetry.promise import Bucket, PartlyRejected, Point, TelemetryStore

NOW = int(time.time() * 1000) // 1000 * 1000
PREFIX = series("heartbeat", {"position": "LMP-P12-CAM-A", "kind": "camera"})
TAGS = {"position": "LMP-P12-CAM-A", "kind": "camera"}


def line(at_ms: int, fields: str = "fps=15.0,seq=1i,late=false", prefix: bytes = PREFIX) -> bytes:
    return prefix + f"{fields} {at_ms}".encode()


def read(store: TelemetryStore, bucket: Bucket = Bucket.HOT, measurement: str = "heartbeat", **tags: str) -> list[Point]:
    return store.query(bucket, measurement, from_ms=NOW - 3_600_000, to_ms=NOW + 3_600_000, tags=tags)


def test_point_comes_back_with_its_types(store: TelemetryStore) -> None:
    store.write(Bucket.HOT, [line(NOW, 'fps=15.0,seq=412i,late=true,cause="a \\"b\\" \\\\ c"')])
    (point,) = read(store)
    assert point == Point(TAGS, NOW, {"fps": 15.0, "seq": 412, "late": True, "cause": 'a "b" \\ c'})
    assert [type(point.fields[name]) for name in ("seq", "late", "cause")] == [int, bool, str]


def test_write_may_be_repeated(store: TelemetryStore) -> None:
    lines = [line(NOW + n) for n in range(10)]
    store.write(Bucket.HOT, lines)
    store.write(Bucket.HOT, list(reversed(lines)))
    assert len(read(store)) == 10


def test_second_write_of_a_point_adds_and_replaces_fields(store: TelemetryStore) -> None:
    store.write(Bucket.HOT, [line(NOW, "fps=15.0,kbps=1.0")])
    store.write(Bucket.HOT, [line(NOW, "fps=3.0,luma=9.0")])
    assert read(store)[0].fields == {"fps": 3.0, "kbps": 1.0, "luma": 9.0}


def test_buckets_are_apart(store: TelemetryStore) -> None:
    store.write(Bucket.COLD, [line(NOW)])
    assert (read(store), len(read(store, Bucket.COLD))) == ([], 1)


def test_odd_characters_survive(store: TelemetryStore) -> None:
    tags = {"position": "เสา 12, กล้อง=A", "kind": "it's"}
    store.write(Bucket.EVENTS, [series("event", tags) + f"text={text('ปุ่ม')} {NOW}".encode()])
    (point,) = read(store, Bucket.EVENTS, "event", position="เสา 12, กล้อง=A", kind="it's")
    assert point.tags == tags
    assert point.fields == {"text": "ปุ่ม"}


def test_query_is_bounded_by_time_and_tags(store: TelemetryStore) -> None:
    other = series("heartbeat", {"position": "B"})
    store.write(Bucket.HOT, [line(NOW - 1), line(NOW), line(NOW + 1), line(NOW, prefix=other)])
    found = store.query(Bucket.HOT, "heartbeat", from_ms=NOW, to_ms=NOW + 1, tags={"kind": "camera"})
    assert [point.at_ms for point in found] == [NOW]
    assert store.query(Bucket.HOT, "nothing", from_ms=0, to_ms=NOW) == []


def test_changed_type_is_refused_and_the_others_are_stored(store: TelemetryStore) -> None:
    store.write(Bucket.HOT, [line(NOW, "fps=15.0")])
    with pytest.raises(PartlyRejected, match="type conflict"):
        store.write(Bucket.HOT, [line(NOW + 1), line(NOW + 2, "fps=15i"), line(NOW + 3)])
    letters = deliver(store, Bucket.HOT, [line(NOW + 1), line(NOW + 2, "fps=15i"), line(NOW + 3)], now_ms=NOW)
    assert [bad for bad, _ in letters] == [line(NOW + 2, "fps=15i")]
    assert "type conflict" in letters[0][1]
    assert [point.at_ms for point in read(store)] == [NOW, NOW + 1, NOW + 3]


def test_garbage_is_given_up_and_the_others_are_stored(store: TelemetryStore) -> None:
    garbage = [b"heartbeat 5", b"heartbeat,x= fps 7", b"=" * 50 + b" 9"]
    good = [line(NOW + n) for n in range(60)]
    mixed = [*good[:20], garbage[0], *good[20:40], garbage[1], *good[40:], garbage[2]]
    in_time = [
        written.rpartition(b" ")[0] + f" {NOW + 100 + n}".encode() if written in garbage else written for n, written in enumerate(mixed)
    ]
    letters = deliver(store, Bucket.HOT, in_time, now_ms=NOW)
    assert len(letters) == 3
    assert len(read(store)) == 60


def test_many_lines_go_in_batches(store: TelemetryStore) -> None:
    assert deliver(store, Bucket.HOT, [line(NOW - n) for n in range(12_000)], now_ms=NOW) == []
    assert len(read(store)) == 12_000


def test_what_is_too_old_to_be_kept_is_left_out(store: TelemetryStore) -> None:
    old = line(NOW - 31 * 86_400_000)
    assert deliver(store, Bucket.HOT, [old, line(NOW)], now_ms=NOW) == []
    assert len(store.query(Bucket.HOT, "heartbeat", from_ms=0, to_ms=NOW + 1)) == 1


def test_store_that_works_says_so(store: TelemetryStore) -> None:
    store.ping()
    assert store.purge(NOW) == 0

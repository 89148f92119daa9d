"""Which lines a row of the journal gives."""

from typing import Any

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.messages import Health
from firmware_agent.contract.vocabulary import ClockQuality
from fleet_server.ingest.model import Entry, Lane, Row
from fleet_server.telemetry.derived import Derived, Deriver
from fleet_server.telemetry.promise import Bucket
from tests.unit.fleet_server.telemetry.fleet import BOOT, NODE, NOW, clock, directory, evidence, heartbeat, press


def row(entry: Entry) -> Row:
    return Row(
        1, entry.received_at_ms, entry.node, entry.lane, entry.topic, entry.stream, entry.seq, entry.at_ms, entry.boot, entry.payload
    )


def derive(*entries: Entry, offset_ms: int | None = None) -> Derived:
    def offset_of(node: NodeId, boot: BootId) -> int | None:
        assert (node, boot) == (NODE, BOOT)
        return offset_ms

    return Deriver(directory(), offset_of).derive([row(entry) for entry in entries])


def hot(derived: Derived) -> list[str]:
    return [line.decode() for line in derived.lines.get(Bucket.HOT, [])]


def test_heartbeat_gives_a_line_of_each_position_and_one_of_the_node() -> None:
    lines = hot(derive(heartbeat(7, at_ms=NOW)))
    assert lines == [
        f"heartbeat,kind=camera,position=CAM-A,station=bpp.n1.lumpini,zone=LMP fps=15.0,rtt_ms=2.0,seq=7i,late=false {NOW - 100}",
        f"node_health,node={NODE},station=bpp.n1.lumpini cpu_percent=3.0,outbox_heartbeats=2i,outbox_events=0i {NOW}",
    ]


def test_replay_is_marked_late() -> None:
    assert "late=true" in hot(derive(heartbeat(7, at_ms=NOW, lane=Lane.REPLAY, received_at_ms=NOW + 90_000_000)))[0]


def test_live_heartbeat_older_than_its_ttl_is_late() -> None:
    assert "late=true" in hot(derive(heartbeat(7, at_ms=NOW, received_at_ms=NOW + 31_000)))[0]


def test_live_heartbeat_without_a_clock_is_dated_by_its_receipt() -> None:
    entry = heartbeat(7, at_ms=1000, received_at_ms=NOW, clock=clock(1000, ClockQuality.NONE, mono_ms=5), evidence=[evidence(900)])
    assert hot(derive(entry))[0].endswith(f" {NOW - 100}")


def test_boot_whose_offset_is_known_is_dated_by_it() -> None:
    unknown: dict[str, Any] = {"clock": clock(1000, ClockQuality.NONE, mono_ms=500), "evidence": [evidence(900)]}
    entry = heartbeat(7, at_ms=1000, lane=Lane.REPLAY, received_at_ms=NOW, **unknown)
    assert hot(derive(entry, offset_ms=NOW - 60_000))[0].endswith(f" {NOW - 60_000 + 500 - 100}")


def test_replay_that_nothing_dates_gives_nothing_and_is_counted() -> None:
    entry = heartbeat(7, at_ms=1000, lane=Lane.REPLAY, received_at_ms=NOW, clock=clock(1000, ClockQuality.NONE, mono_ms=5))
    derived = derive(entry)
    assert (derived.lines, derived.undated) == ({}, 1)


def test_evidence_of_an_unknown_channel_is_counted_and_the_rest_is_used() -> None:
    derived = derive(heartbeat(7, at_ms=NOW, evidence=[evidence(NOW, "cam-9"), evidence(NOW)], health=Health()))
    assert derived.homeless == 1
    assert len(hot(derived)) == 2


def test_press_gives_an_event_with_its_times() -> None:
    (line,) = derive(press(3, at_ms=NOW, is_drill=True)).lines[Bucket.EVENTS]
    assert line.decode() == (
        "event,kind=panic_button,position=BTN-1,station=bpp.n1.lumpini,type=press "
        f'event_id="{NODE}:6f1c2a9b0d3e4f58:3",drill=true,late=false,node_ms=4i,link_ms=46i {NOW}'
    )


def test_press_that_came_long_after_it_happened_is_late() -> None:
    (line,) = derive(press(3, at_ms=NOW, received_at_ms=NOW + 3_600_000)).lines[Bucket.EVENTS]
    assert line.decode().endswith(f"late=true,node_ms=4i,link_ms=3599996i {NOW}")


def test_press_made_with_a_clock_in_the_future_is_dated_by_its_boot() -> None:
    far = NOW + 10**12
    entry = press(3, at_ms=far, received_at_ms=NOW, clock=clock(far + 4, mono_ms=500))
    (line,) = derive(entry, offset_ms=NOW - 60_000).lines[Bucket.EVENTS]
    assert line.decode().endswith(f"late=true,node_ms=4i,link_ms=59500i {NOW - 60_000 + 500 - 4}")


def test_presses_that_nothing_dates_are_shown_by_their_receipt_and_none_hides_another() -> None:
    never: dict[str, Any] = {"at_ms": 1000, "received_at_ms": NOW, "clock": clock(1004, ClockQuality.NONE, mono_ms=5)}
    lines = [line.decode() for line in derive(press(999, **never), press(1000, **never)).lines[Bucket.EVENTS]]
    assert [line.rpartition(" ")[2] for line in lines] == [str(NOW), str(NOW - 999)]
    assert all(line.rpartition(" ")[0].endswith("late=false,node_ms=4i") for line in lines)


def test_row_that_cannot_be_read_any_more_is_passed_by() -> None:
    derived = derive(heartbeat(7)._replace(payload=b"{}"), heartbeat(8))
    assert len(hot(derived)) == 2

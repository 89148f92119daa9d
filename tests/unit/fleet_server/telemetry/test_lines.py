"""Lines are what InfluxDB reads, whatever people call their places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import Channel
from firmware_agent.contract.messages import Evidence, Health
from firmware_agent.contract.vocabulary import METRICS, Function, Kind, Verdict
from fleet_server.telemetry.lines import health_line, heartbeat_line, line, series, station_of, text, timestamp_of
from fleet_server.telemetry.sqlite import parse, parse_series


def evidence(**metrics: float) -> Evidence:
    return Evidence(Channel("cam-1"), Function.LIVE, Verdict.WORKING, 1, 1, "", metrics)


def test_heartbeat_line_is_this() -> None:
    prefix = series("heartbeat", {"position": "LMP-P12-CAM-A", "station": "lumpini", "zone": "LMP", "kind": "camera"})
    written = heartbeat_line(prefix, Kind.CAMERA, evidence(fps=15.0, rtt_ms=3.25), seq=412, is_late=False, at_ms=1_795_485_600_250)
    assert written == (
        b"heartbeat,kind=camera,position=LMP-P12-CAM-A,station=lumpini,zone=LMP fps=15.0,rtt_ms=3.25,seq=412i,late=false 1795485600250"
    )


def test_number_that_the_contract_does_not_name_is_left_out() -> None:
    written = heartbeat_line(b"heartbeat ", Kind.PANIC_BUTTON, evidence(fps=1.0, drill_age_s=2.0, x=3.0), seq=1, is_late=True, at_ms=5)
    assert written == b"heartbeat drill_age_s=2.0,seq=1i,late=true 5"


def test_health_line_leaves_out_what_the_node_does_not_know() -> None:
    assert health_line(b"node_health ", Health(), at_ms=7) == b"node_health outbox_heartbeats=0i,outbox_events=0i 7"
    full = health_line(b"n ", Health(1.0, 2.0, 3.0, 4.0, True, 5.0, 6, 7, 8.0), at_ms=9)
    assert parse(full)[2] == {
        "cpu_percent": 1.0,
        "memory_percent": 2.0,
        "disk_free_mb": 3.0,
        "temperature_c": 4.0,
        "uptime_s": 5.0,
        "clock_offset_ms": 8.0,
        "throttled": True,
        "outbox_heartbeats": 6,
        "outbox_events": 7,
    }


@pytest.mark.parametrize(("path", "tag"), [("/bpp/n1/lumpini/", "bpp.n1.lumpini"), ("/p2/ry/muang/", "p2.ry.muang"), ("/", "-")])
def test_station_is_named_by_its_place_since_many_have_the_same_code(path: str, tag: str) -> None:
    assert station_of(path) == tag


_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(lambda word: "\\" not in word)


@given(tags=st.dictionaries(st.sampled_from(["position", "station", "zone", "kind"]), _words, max_size=4), value=st.text(max_size=20))
def test_any_words_come_back(tags: dict[str, str], value: str) -> None:
    clean = value.encode("utf-8", "replace").decode().replace("\r", " ").replace("\n", " ")
    head, at_ms, fields = parse(line(series("event", tags), [("text", text(value))], at_ms=12))
    assert parse_series(head) == ("event", tags)
    assert (at_ms, fields) == (12, {"text": clean})


@given(st.text(max_size=12), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(list(Kind)), st.integers(0, 2**45))
def test_any_tag_and_number_leave_one_line(tag: str, number: float, kind: Kind, at_ms: int) -> None:
    prefix = series("heartbeat", {"position": tag, "kind": kind.value})
    written = heartbeat_line(prefix, kind, evidence(**{METRICS[kind][0]: number}), seq=1, is_late=False, at_ms=at_ms)
    assert b"\n" not in written
    head, found_ms, fields = parse(written)
    assert found_ms == timestamp_of(written) == at_ms
    assert fields == {METRICS[kind][0]: number, "seq": 1, "late": False}
    assert parse_series(head)[1]["kind"] == kind.value

"""The report finds what is lost, doubled or does not add up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.demo.report import PARTS, StreamCount, broken_promises, uptime_s


def fine() -> dict[str, Any]:
    uptime = {"commissioned_s": 10.0, "working_s": 9.5, "unknown_s": 0.5} | {f"{part}_s": 0.0 for part in PARTS[1:3] + PARTS[4:]}
    return {
        "nodes": [{"node": "n", "serial": "s", "certificate_serial": "1", "online": True}],
        "heartbeats": {"sent": 10, "stored": 9, "lost": 0},
        "positions": [{"position": "P", "kind": "camera", "state": "working", "uptime": uptime}],
        "presses": [{"event_id": "a", "latency_ms": 12, "drill": True}, {"event_id": "b", "latency_ms": 9, "drill": False}],
        "timeline": [{"at_s": t, "what": "", "innovation_count": n} for t, n in ((0, 3), (31, 2), (61, 3))],
    }


def test_kept_promises_are_no_findings() -> None:
    assert broken_promises(fine(), pressed=2, expects_outage=True) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"heartbeats": {"sent": 10, "stored": 8, "lost": 2}}, "2 heartbeats"),
        ({"presses": [{"event_id": "a"}]}, "2 presses were made, 1 are stored"),
        ({"presses": [{"event_id": "a"}, {"event_id": "a"}]}, "stored twice"),
        ({"nodes": [{"node": "n", "online": False}]}, "not connected"),
        ({"timeline": [{"innovation_count": 3}]}, "did not fall"),
        ({"timeline": [{"innovation_count": n} for n in (3, 2)]}, "did not return"),
        ({"timeline": [{"innovation_count": n} for n in (2, 3)]}, "began at 2"),
    ],
)
def test_broken_promise_is_said(change: dict[str, Any], says: str) -> None:
    assert any(says in finding for finding in broken_promises(fine() | change, pressed=2, expects_outage=True))


def test_parts_that_miss_a_millisecond_are_found() -> None:
    report = fine()
    report["positions"][0]["uptime"]["working_s"] = 9.499
    assert broken_promises(report, pressed=2, expects_outage=True) == ["the parts of P do not add up"]


def test_uptime_is_exact_in_milliseconds() -> None:
    parts = {f"{part}_ms": 0 for part in PARTS} | {"commissioned_ms": 90_123, "working_ms": 90_123}
    assert uptime_s(parts)["working_s"] == 90.123


@given(made=st.integers(0, 40), stored=st.sets(st.integers(1, 45)), data=st.data())
def test_lost_is_what_neither_side_has(made: int, stored: set[int], data: st.DataObject) -> None:
    missing = set(range(1, made + 1)) - stored
    held = data.draw(st.sets(st.sampled_from(sorted(missing)))) if missing else set()
    through = max(stored, default=0)
    gaps = [(n, n) for n in range(1, through) if n not in stored]
    count = StreamCount("s", made, len(held), through, gaps)
    assert count.stored == len(stored & set(range(1, made + 1)))
    assert count.lost == len(missing - held)

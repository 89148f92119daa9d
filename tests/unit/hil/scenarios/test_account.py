"""The account finds each kind of fault: a comparison that cannot fail would prove nothing."""

from typing import Any

import pytest

from hil.scenarios.account import heartbeat_faults, press_faults, uptime_faults
from hil.scenarios.books import Books, StreamBooks
from hil.scenarios.fingers import Touch
from hil.scenarios.setup import through

STREAM = "00000000000000aa"


def books(*, made: int = 5, held: frozenset[int] = frozenset(), evicted: int = 0) -> Books:
    return Books((StreamBooks(STREAM, made, evicted, held, 0),), frozenset())


def known(through: int, *gaps: list[int], stream: str = STREAM) -> dict[str, Any]:
    return {"stream": stream, "through": through, "gaps": list(gaps)}


def press(at_ms: int = 1_000_100, *, event_id: str = "e1", code: str = "B1") -> dict[str, Any]:
    return {"event_id": event_id, "position_code": code, "occurred_at_ms": at_ms}


TOUCH = Touch("B1", 1_000_000, is_amber_seen=True, is_green_seen=True)


@pytest.mark.parametrize(
    ("node", "server"),
    [
        (books(), [known(5)]),
        (books(held=frozenset({5})), [known(4)]),
        (books(held=frozenset({2, 3})), [known(5, [2, 3])]),
        (books(held=frozenset(range(1, 6))), []),
    ],
)
def test_stored_or_held_is_not_lost(node: Books, server: list[dict[str, Any]]) -> None:
    assert list(heartbeat_faults("N", node, server)) == []


@pytest.mark.parametrize(
    ("node", "server", "says"),
    [
        (books(), [known(4)], "1 heartbeats are neither stored nor held, the first is 5"),
        (books(), [known(5, [2, 3])], "2 heartbeats are neither stored nor held, the first is 2"),
        (books(), [], "5 heartbeats are neither"),
        (books(made=3), [known(4)], "the server has heartbeat 4, the node made 3"),
        (books(evicted=1), [known(5)], "1 heartbeats were evicted"),
        (books(), [known(5), known(1, stream="bb")], "streams that the node never had"),
    ],
)
def test_each_fault_of_heartbeats_is_found(node: Books, server: list[dict[str, Any]], says: str) -> None:
    (fault,) = heartbeat_faults("N", node, server)
    assert says in fault


def test_each_press_once_is_no_fault() -> None:
    unnoticed = Touch("B1", 1_005_000)
    assert list(press_faults([TOUCH, unnoticed], [press()], {0: True, 1: False})) == []


def test_late_press_belongs_to_the_finger_before_it() -> None:
    touches = [TOUCH, Touch("B1", 1_000_800, is_amber_seen=True)]
    assert list(press_faults(touches, [press(1_000_700), press(1_000_830, event_id="e2")], {0: True, 1: True})) == []


@pytest.mark.parametrize(
    ("touches", "presses", "says"),
    [
        ([TOUCH], [], "the green light of B1 was lit"),
        ([Touch("B1", 1_000_000, is_amber_seen=True)], [], "the press of B1 at 1000000 is lost"),
        ([TOUCH], [press(), press(event_id="e2")], "one press of B1 is stored 2 times"),
        ([TOUCH], [press(), press(1_009_000, event_id="e2")], "was made by no finger"),
        ([TOUCH], [press(), press(event_id="e2", code="B2")], "was made by no finger"),
    ],
)
def test_each_fault_of_presses_is_found(touches: list[Touch], presses: list[dict[str, Any]], says: str) -> None:
    (fault,) = press_faults(touches, presses, dict.fromkeys(range(len(touches)), True))
    assert says in fault


def test_same_event_listed_twice_is_found() -> None:
    assert any("e1 is stored twice" in fault for fault in press_faults([TOUCH], [press(), press()], {}))


def test_parts_that_do_not_add_up_are_found() -> None:
    parts = {f"{part}_ms": 0 for part in ("working", "degraded", "failed", "unknown", "maintenance", "excused", "commissioned")}
    assert list(uptime_faults("P", {**parts, "working_ms": 7, "commissioned_ms": 7})) == []
    assert ["add up to 7 ms of 8 ms" in fault for fault in uptime_faults("P", {**parts, "working_ms": 7, "commissioned_ms": 8})] == [True]
    assert ["nothing counts as working" in fault for fault in uptime_faults("P", parts)] == [True]


@pytest.mark.parametrize(
    ("url", "became"),
    [
        ("postgresql+psycopg://ssz@/test_1?host=/tmp/pg", "postgresql+psycopg://ssz@127.0.0.1:9/test_1?sslmode=disable"),
        ("postgresql+psycopg://u:p@db.example:5433/fleet", "postgresql+psycopg://u:p@127.0.0.1:9/fleet?sslmode=disable"),
    ],
)
def test_database_is_reached_through_the_line(url: str, became: str) -> None:
    assert through(url, 9) == became

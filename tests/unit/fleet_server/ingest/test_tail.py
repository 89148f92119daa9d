"""The newest rows in memory: served only where nothing can be missing."""

import pytest

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import Up
from fleet_server.ingest.model import Entry, Lane
from fleet_server.ingest.tail import KEEP_MS, MAX_ROWS, Tail

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")


def entries(count: int, *, at_ms: int = 0, topic: Up = Up.HEARTBEAT) -> list[Entry]:
    return [Entry(at_ms, NODE, Lane.LIVE, topic, b"{}") for _ in range(count)]


def ids(tail: Tail, number: int, *, newest: int, limit: int = 1000) -> list[int] | None:
    rows = tail.after(number, newest=newest, limit=limit)
    return None if rows is None else [row.id for row in rows]


def test_serves_the_run_it_holds() -> None:
    tail = Tail()
    assert ids(tail, 0, newest=0) is None
    tail.extend(entries(3), before=7, newest=10)
    tail.extend(entries(2), before=10, newest=12)
    assert ids(tail, 7, newest=12) == [8, 9, 10, 11, 12]
    assert ids(tail, 10, newest=12, limit=1) == [11]
    assert ids(tail, 12, newest=12) == []
    assert ids(tail, 99, newest=12) == []


def test_does_not_know_what_lies_before_it_or_behind_it() -> None:
    tail = Tail()
    tail.extend(entries(3), before=7, newest=10)
    assert ids(tail, 6, newest=10) is None
    assert ids(tail, 9, newest=11) is None, "another process wrote 11"


def test_begins_anew_after_rows_of_another_process() -> None:
    tail = Tail()
    tail.extend(entries(3), before=0, newest=3)
    tail.extend(entries(2), before=5, newest=7)
    assert ids(tail, 3, newest=7) is None
    assert ids(tail, 5, newest=7) == [6, 7]


def test_forgets_all_where_ids_have_holes() -> None:
    tail = Tail()
    tail.extend(entries(3), before=0, newest=3)
    tail.extend(entries(2), before=3, newest=9)
    assert ids(tail, 0, newest=9) is None
    assert ids(tail, 3, newest=9) is None


@pytest.mark.parametrize("is_first_in_order", [True, False])
def test_commits_may_arrive_in_either_order(is_first_in_order: bool) -> None:
    tail, commits = Tail(), [(0, 2), (2, 4)]
    for before, newest in commits if is_first_in_order else reversed(commits):
        tail.extend(entries(2), before=before, newest=newest)
    assert ids(tail, 2, newest=4) == [3, 4]


def test_a_commit_that_stored_nothing_changes_nothing() -> None:
    tail = Tail()
    tail.extend(entries(3), before=0, newest=3)
    tail.extend([], before=3, newest=3)
    assert ids(tail, 0, newest=3) == [1, 2, 3]


def test_chosen_topics_only() -> None:
    tail = Tail()
    tail.extend(entries(2) + entries(1, topic=Up.EVENT) + entries(2), before=0, newest=5)
    assert [row.id for row in tail.after(0, newest=5, limit=9, topics=[Up.EVENT]) or []] == [3]


def test_holds_a_bounded_number_of_recent_rows() -> None:
    tail = Tail()
    for start in range(0, 3 * MAX_ROWS, 100):
        tail.extend(entries(100), before=start, newest=start + 100)
        held = ids(tail, start + 99, newest=start + 100)
        assert held == [start + 100]
    assert ids(tail, 2 * MAX_ROWS - 1, newest=3 * MAX_ROWS) is None
    tail.extend(entries(1, at_ms=3 * KEEP_MS), before=3 * MAX_ROWS, newest=3 * MAX_ROWS + 1)
    assert ids(tail, 3 * MAX_ROWS - 1, newest=3 * MAX_ROWS + 1) is None, "what is old goes"
    assert ids(tail, 3 * MAX_ROWS, newest=3 * MAX_ROWS + 1) == [3 * MAX_ROWS + 1]


def test_a_clock_that_jumps_leaves_no_hole() -> None:
    tail = Tail()
    for number, at_ms in enumerate([KEEP_MS, 3 * KEEP_MS, 0, 3 * KEEP_MS + 1]):
        tail.extend(entries(1, at_ms=at_ms), before=number, newest=number + 1)
    assert ids(tail, 1, newest=4) == [2, 3, 4]

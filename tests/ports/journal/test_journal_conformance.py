"""What every journal promises, whatever database is under it."""

import asyncio
import random
import threading
from typing import Any

import pytest

from firmware_agent.contract import ids
from firmware_agent.contract.ids import BootId, NodeId, StreamId
from firmware_agent.contract.messages import Clock, Heartbeat, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane, Row
from fleet_server.storage import Database

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("f01c2a9b0d3e4f58")
BOOT = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
NOW = 1_795_485_600_000


def heartbeat(seq: int, *, node: NodeId = NODE, stream: StreamId = STREAM, floor: int = 1, **changes: Any) -> Entry:
    session = ids.SessionId(changes.pop("session", "s"))
    at_ms = NOW + seq * 1000
    message = Heartbeat(
        v=1,
        session=session,
        stream=stream,
        seq=seq,
        floor=floor,
        clock=Clock(wall_ms=changes.pop("wall_ms", at_ms), mono_ms=seq * 1000, boot=BOOT, quality=ClockQuality.NTP),
        evidence=[],
    )
    entry = Entry(
        received_at_ms=at_ms + 5,
        node=node,
        lane=Lane.LIVE,
        topic=Up.HEARTBEAT,
        payload=encode(message),
        stream=stream,
        seq=seq,
        floor=floor,
        at_ms=at_ms,
        mono_ms=seq * 1000,
        boot=BOOT,
    )
    return entry._replace(**changes)


def test_row_comes_back_as_it_was(journal: Journal) -> None:
    entry = heartbeat(1)
    assert journal.append([entry]).stored == 1
    (row,) = journal.after(0, limit=10)
    assert (row.node, row.stream, row.seq, row.boot) == (NODE, STREAM, 1, BOOT)
    assert (row.lane, row.topic, row.at_ms, row.received_at_ms) == (Lane.LIVE, Up.HEARTBEAT, entry.at_ms, entry.received_at_ms)
    assert row.payload == entry.payload
    assert journal.newest_id() == row.id


def test_message_without_a_number_is_stored_each_time(journal: Journal) -> None:
    entry = Entry(received_at_ms=NOW, node=NODE, lane=Lane.LIVE, topic=Up.STATUS, payload=b"{}")
    assert journal.append([entry, entry]).stored == 2
    assert [row.seq for row in journal.after(0, limit=10)] == [None, None]


def test_duplicate_is_stored_once_and_acknowledged_again(journal: Journal) -> None:
    journal.append([heartbeat(1), heartbeat(2)])
    again = journal.append([heartbeat(2)._replace(lane=Lane.REPLAY), heartbeat(2)])
    assert (again.stored, again.duplicates, again.reused) == (0, 2, [])
    assert again.streams[NODE, STREAM].through == 2
    assert len(journal.after(0, limit=10)) == 2


def test_duplicate_in_one_batch_is_stored_once(journal: Journal) -> None:
    appended = journal.append([heartbeat(1), heartbeat(1), heartbeat(2)])
    assert (appended.stored, appended.duplicates) == (2, 1)
    assert journal.streams(NODE)[0].stored == 2


def test_another_session_of_the_same_message_is_a_duplicate(journal: Journal) -> None:
    journal.append([heartbeat(1)])
    assert journal.append([heartbeat(1, session="other")]).duplicates == 1


def test_number_used_twice_keeps_the_first_and_is_told(journal: Journal) -> None:
    first, second = heartbeat(1), heartbeat(1, wall_ms=NOW + 77)
    journal.append([first])
    assert journal.append([second]).reused == [second]
    assert [row.payload for row in journal.after(0, limit=10)] == [first.payload]


def test_same_number_of_heartbeat_event_stream_and_node_do_not_meet(journal: Journal) -> None:
    other_node = ids.new_node_id()
    entries = [
        heartbeat(1),
        heartbeat(1, topic=Up.EVENT),
        heartbeat(1, stream=StreamId("0" * 16)),
        heartbeat(1, node=other_node),
    ]
    assert journal.append(entries).stored == 4
    assert len(journal.streams(NODE)) == 2


def test_gap_is_told_once_when_it_opens(journal: Journal) -> None:
    assert journal.append([heartbeat(1)]).gapped == set()
    assert journal.append([heartbeat(5)]).gapped == {(NODE, STREAM)}
    assert journal.append([heartbeat(6), heartbeat(3)]).gapped == set()
    assert journal.streams(NODE)[0].gaps == ((2, 2), (4, 4))


def test_late_heartbeat_fills_its_gap(journal: Journal) -> None:
    journal.append([heartbeat(1), heartbeat(3)])
    appended = journal.append([heartbeat(2)._replace(lane=Lane.REPLAY)])
    assert (appended.stored, appended.streams[NODE, STREAM].gaps) == (1, ())


def test_birth_after_a_loss_of_the_server_lifts_the_floor(journal: Journal) -> None:
    appended = journal.append([], held={(NODE, STREAM): 500})
    record = appended.streams[NODE, STREAM]
    assert appended.born == {(NODE, STREAM)}
    assert (record.through, record.floor, record.gaps) == (499, 500, ())
    assert journal.streams(NODE) == [record]


def test_rows_known_though_the_stream_is_not_are_duplicates(journal: Journal, database: Database) -> None:
    journal.append([heartbeat(1), heartbeat(2)])
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM stream")
    appended = journal.append([heartbeat(2)])
    assert (appended.stored, appended.duplicates) == (0, 1)


def test_reading_goes_on_where_it_stopped(journal: Journal) -> None:
    journal.append([heartbeat(seq) for seq in range(1, 8)])
    first = journal.after(0, limit=3)
    second = journal.after(first[-1].id, limit=100)
    assert [row.seq for row in first + second] == list(range(1, 8))
    assert journal.after(second[-1].id, limit=100) == []


@pytest.mark.parametrize("seed", range(4))
def test_readers_close_behind_see_what_any_other_sees(journal: Journal, database: Database, seed: int) -> None:
    """The newest rows come from memory: what others wrote, what was refused and what was there already must make no difference."""
    chance, other = random.Random(seed), Journal(database)
    followed: list[Row] = []
    presses: list[Row] = []
    for seq in range(1, 40):
        writer = chance.choice((journal, journal, other))
        batch = [heartbeat(seq), heartbeat(seq, topic=Up.EVENT), heartbeat(max(1, seq - chance.randrange(3)))][: chance.randrange(1, 4)]
        writer.append(batch)
        if chance.random() < 0.2:
            with pytest.raises(Exception, match=r".+"):
                writer.append([heartbeat(100), heartbeat(101, received_at_ms=2**70)])
        if chance.random() < 0.7:
            followed += journal.after(followed[-1].id if followed else 0, limit=chance.choice((1, 3, 100)))
            presses += journal.after(presses[-1].id if presses else 0, limit=2, topics=[Up.EVENT])
    while rows := journal.after(followed[-1].id, limit=7):
        followed += rows
    stored = Journal(database).after(0, limit=1000)
    assert followed == stored
    assert presses == [row for row in stored if row.topic is Up.EVENT][: len(presses)]


def test_reading_by_topic(journal: Journal) -> None:
    journal.append([heartbeat(1), heartbeat(1, topic=Up.EVENT), heartbeat(2)])
    assert [row.topic for row in journal.after(0, limit=9, topics=[Up.EVENT])] == [Up.EVENT]


def test_span_of_a_node_holds_dated_and_undated(journal: Journal) -> None:
    other = heartbeat(5, node=ids.new_node_id())
    undated = heartbeat(6, at_ms=None)
    old = heartbeat(7, at_ms=None, received_at_ms=NOW - 1)
    journal.append([heartbeat(1), heartbeat(2), heartbeat(3), heartbeat(4), other, undated, old])
    rows = journal.of_node(NODE, from_ms=NOW + 2000, to_ms=NOW + 4000)
    assert [row.seq for row in rows] == [2, 3, 6]


def test_first_trusted_clock_of_a_boot_is_kept(journal: Journal) -> None:
    assert journal.boot_offset(NODE, BOOT) is None
    journal.append([heartbeat(1, at_ms=None)])
    assert journal.boot_offset(NODE, BOOT) is None
    journal.append([heartbeat(2)])
    journal.append([heartbeat(3, at_ms=NOW + 99_999)])
    assert journal.boot_offset(NODE, BOOT) == NOW


def test_cursor_moves_with_the_transaction(journal: Journal, database: Database) -> None:
    assert journal.cursor("telemetry") == 0
    with database.write() as connection:
        journal.set_cursor(connection, "telemetry", 7)

    def move_and_fail() -> None:
        with database.write() as connection:
            journal.set_cursor(connection, "telemetry", 9)
            raise LookupError

    with pytest.raises(LookupError):
        move_and_fail()
    assert journal.cursor("telemetry") == 7


def test_batch_is_all_or_nothing(journal: Journal) -> None:
    broken = [heartbeat(1), heartbeat(2, received_at_ms=2**70)]
    with pytest.raises(Exception, match=r".+"):
        journal.append(broken)
    assert journal.after(0, limit=10) == []
    assert journal.streams(NODE) == []
    assert journal.boot_offset(NODE, BOOT) is None


async def test_reader_is_woken_by_a_commit(journal: Journal) -> None:
    waiting = asyncio.create_task(journal.wait_beyond(0))
    await asyncio.sleep(0)
    await asyncio.to_thread(journal.append, [heartbeat(1)])
    async with asyncio.timeout(10):
        assert await waiting == journal.newest_id()


async def test_reader_sees_what_another_process_wrote(journal: Journal, database: Database) -> None:
    other = Journal(database)
    waiting = asyncio.create_task(journal.wait_beyond(0))
    await asyncio.to_thread(other.append, [heartbeat(1)])
    async with asyncio.timeout(10):
        assert await waiting >= 1


def test_ids_appear_in_order_though_many_write(journal: Journal, database: Database) -> None:
    """A reader that always asks for what is after the last id it saw misses nothing."""
    writers, each = 4, 25
    nodes = [ids.new_node_id() for _ in range(writers)]

    def write(node: NodeId) -> None:
        own = Journal(database)
        for seq in range(1, each + 1):
            own.append([heartbeat(seq, node=node)])

    threads = [threading.Thread(target=write, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    seen: list[tuple[NodeId, int | None]] = []
    last = 0
    while any(thread.is_alive() for thread in threads) or journal.newest_id() > last:
        for row in journal.after(last, limit=50):
            seen.append((row.node, row.seq))
            last = row.id
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted((node, seq) for node in nodes for seq in range(1, each + 1))

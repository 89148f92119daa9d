"""Group commit: nothing is acknowledged before it is stored, and nothing stored twice, whatever the database does."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.event import listen

from firmware_agent.contract import ids
from firmware_agent.contract.ids import NodeId, StreamId
from firmware_agent.contract.topics import Up
from fleet_server.clock import SystemClock
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Appended, Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Entry, Lane, StreamKey
from fleet_server.ingest.receiver import Received
from fleet_server.ingest.writer import Committed, Writer, WriterLimits
from fleet_server.storage import Database, StorageFull, StorageUnavailable

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("6f1c2a9b0d3e4f58")


class MovedJournal(Journal):
    """Fails as told, and remembers the size of each batch."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.failures: list[Exception] = []
        self.batches: list[int] = []
        self.is_away = False

    def append(self, entries: Sequence[Entry], *, held: Mapping[StreamKey, int] = MappingProxyType({})) -> Appended:
        if self.is_away:
            raise StorageUnavailable("away")
        if self.failures:
            raise self.failures.pop(0)
        appended = super().append(entries, held=held)
        self.batches.append(len(entries))
        return appended


class Bench:
    def __init__(self, database: Database, limits: WriterLimits) -> None:
        self.journal = MovedJournal(database)
        self.metrics = IngestMetrics(CollectorRegistry())
        self.bad = BadMessages(database, SystemClock(), self.metrics)
        self.committed: list[Committed] = []
        self.writer = Writer(self.journal, self.bad, SystemClock(), self.metrics, on_commit=self.committed.append, limits=limits)

    @property
    def seqs(self) -> list[int | None]:
        return [row.seq for row in self.journal.after(0, limit=100_000)]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(await asyncio.to_thread(lambda: self.seqs)) < count:  # noqa: ASYNC110  # the rows may come from another thread
                await asyncio.sleep(0.01)

    async def until_failing(self) -> None:
        async with asyncio.timeout(20):
            while self.metrics.failed_commits._value.get() == 0:  # noqa: ASYNC110  # a counter has no event
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.writer.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    database.create_all()
    return database


def bench_of(database: Database, **limits: float) -> Bench:
    return Bench(database, WriterLimits(**({"pace_s": 0.01, "max_backoff_s": 0.05} | limits)))  # type: ignore[arg-type]  # numbers all


def heartbeat(seq: int, payload: bytes = b"{}") -> Received:
    entry = Entry(received_at_ms=1, node=NODE, lane=Lane.LIVE, topic=Up.HEARTBEAT, payload=payload, stream=STREAM, seq=seq, floor=1)
    return Received(NODE, (entry,))


def event(n: int) -> Received:
    entry = Entry(received_at_ms=1, node=NODE, lane=Lane.LIVE, topic=Up.EVENT, payload=b"{}", stream=STREAM, seq=n)
    return Received(NODE, (entry,), events=(ids.event_id(NODE, STREAM, n),))


async def test_messages_of_one_moment_are_one_commit(database: Database) -> None:
    bench = bench_of(database)
    for seq in range(1, 101):
        assert bench.writer.offer(heartbeat(seq))
    async with bench.running():
        await bench.until(100)
    assert bench.journal.batches == [100]
    assert bench.committed[-1].appended.streams[NODE, STREAM].through == 100


async def test_batches_are_bounded(database: Database) -> None:
    bench = bench_of(database, batch_messages=10)
    for seq in range(1, 26):
        bench.writer.offer(heartbeat(seq))
    async with bench.running():
        await bench.until(25)
    assert bench.journal.batches == [10, 10, 5]


async def test_event_does_not_wait_for_others(database: Database) -> None:
    bench = bench_of(database, gather_s=3600, pace_s=3600)
    async with bench.running():
        bench.writer.offer(heartbeat(1))
        bench.writer.offer(event(1))
        await bench.until(2)
        bench.writer.offer(event(2))
        await bench.until(3)
    assert bench.committed[0].events == {NODE: [ids.event_id(NODE, STREAM, 1)]}


async def test_nothing_is_acknowledged_while_the_database_is_away(database: Database) -> None:
    bench = bench_of(database)
    bench.journal.is_away = True
    async with bench.running():
        for seq in range(1, 6):
            bench.writer.offer(heartbeat(seq))
        await bench.until_failing()
        assert bench.committed == []
        bench.journal.is_away = False
        await bench.until(5)
    assert bench.writer.is_storing
    assert bench.seqs == [1, 2, 3, 4, 5]
    assert len(bench.committed) == 1


async def test_full_disk_is_waited_out(database: Database) -> None:
    bench = bench_of(database)
    bench.journal.failures = [StorageFull("no room"), StorageUnavailable("away"), StorageFull("no room")]
    async with bench.running():
        bench.writer.offer(heartbeat(1))
        await bench.until(1)
    assert bench.seqs == [1]


async def test_queue_is_bounded_and_says_when_there_is_room(database: Database) -> None:
    bench = bench_of(database, queue_messages=10, batch_messages=2)
    bench.journal.is_away = True
    assert [bench.writer.offer(heartbeat(seq)) for seq in range(1, 13)] == [True] * 10 + [False] * 2
    assert bench.writer.is_full
    async with bench.running():
        bench.journal.is_away = False
        async with asyncio.timeout(20):
            await bench.writer.wait_room()
        await bench.until(10)
    assert bench.writer.offer(heartbeat(11))


async def test_queue_is_bounded_in_bytes(database: Database) -> None:
    bench = bench_of(database, queue_bytes=1000)
    assert bench.writer.offer(heartbeat(1, b"x" * 1000))
    assert not bench.writer.offer(heartbeat(2))


async def test_message_the_database_refuses_does_not_stop_the_others(database: Database) -> None:
    bench = bench_of(database)
    poison = Received(NODE, (heartbeat(3).entries[0]._replace(received_at_ms=2**70),))
    for received in (heartbeat(1), heartbeat(2), poison, heartbeat(4), event(1)):
        bench.writer.offer(received)
    async with bench.running():
        await bench.until(4)
    assert sorted(seq or 0 for seq in bench.seqs) == [1, 1, 2, 4]
    bench.bad.flush()
    assert [complaint.reason.value for complaint in bench.bad.all()] == ["unstorable"]
    assert bench.journal.streams(NODE)[0].gaps == ((3, 3),)


async def test_heartbeat_that_the_database_refuses_does_not_stop_the_others_of_its_replay(database: Database) -> None:
    bench = bench_of(database)
    entries = [heartbeat(seq).entries[0] for seq in range(1, 6)]
    bench.writer.offer(Received(NODE, [entry._replace(received_at_ms=2**70) if entry.seq == 3 else entry for entry in entries]))
    async with bench.running():
        await bench.until(4)
    assert sorted(seq or 0 for seq in bench.seqs) == [1, 2, 4, 5]
    bench.bad.flush()
    assert [(complaint.reason.value, complaint.count) for complaint in bench.bad.all()] == [("unstorable", 1)]


async def test_clean_stop_stores_what_is_queued(database: Database) -> None:
    bench = bench_of(database, gather_s=3600)
    async with bench.running():
        await asyncio.sleep(0)
        bench.writer.offer(heartbeat(1))
    assert bench.seqs == [1]


async def test_journal_on_a_full_disk_recovers(tmp_path: Path) -> None:
    """A real full database: SQLite with no page left; then there is room again."""
    path = tmp_path / "small.db"
    database = Database(f"sqlite:///{path}")
    database.create_all()
    bench = bench_of(database)
    pages = int(sqlite3.connect(path).execute("PRAGMA page_count").fetchone()[0])
    database.engine.dispose()

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {room}")

    room = pages + 2
    listen(database.engine, "connect", limit)
    async with bench.running():
        for seq in range(1, 41):
            bench.writer.offer(heartbeat(seq, str(seq).encode() * 40 + bytes(range(256)) * 20))
        await bench.until_failing()
        assert bench.committed == []
        room = 1_000_000
        database.engine.dispose()
        await bench.until(40)
    assert bench.seqs == list(range(1, 41))
    assert bench.journal.streams(NODE)[0].stored == 40

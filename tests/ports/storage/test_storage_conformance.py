"""What every database under this server promises: transactions, translation of what goes wrong, and the change log."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, IntegrityError

from fleet_server.errors import Gone, Transient
from fleet_server.storage import Database, StorageFull, StorageUnavailable, changes, wal
from fleet_server.storage.changes import ChangeFeed
from fleet_server.storage.database import StorageDamaged
from tests.servers.postgres import Cluster, find_postgres

metadata = MetaData()
thing = Table("conformance_thing", metadata, Column("id", Integer, primary_key=True), Column("name", String(5000), nullable=False))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'fleet.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    database = Database(url)
    metadata.create_all(database.engine)
    changes.change.create(database.engine)
    yield database
    database.close()


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(thing.c.name).order_by(thing.c.id)).scalars())


def put(database: Database, number: int, name: str = "x") -> None:
    with database.write() as connection:
        connection.execute(insert(thing).values(id=number, name=name))


def news(database: Database, unit_path: str = "/bpp/", subject: str = "LMP-1") -> None:
    with database.write() as connection:
        changes.append(connection, at_ms=1, unit_path=unit_path, kind="position", subject=subject, data={"state": "ปกติ"})


def test_transaction_is_whole_or_not_at_all(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.execute(insert(thing).values(id=1, name="a"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert names(database) == []
    put(database, 1)
    assert names(database) == ["x"]


def test_broken_rule_is_no_outage(database: Database) -> None:
    put(database, 1)
    with pytest.raises(IntegrityError):
        put(database, 1)
    put(database, 2)
    assert names(database) == ["x", "x"]


@pytest.mark.parametrize("statement", ["SELECT x FROM no_such_table", "SELECT no_such_column FROM conformance_thing", "SELEC 1"])
def test_wrong_statement_is_no_outage(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError), database.read() as connection:
        connection.execute(text(statement))


def test_wrong_statement_to_the_driver_itself_is_no_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    with pytest.raises(sqlite3.OperationalError, match="no such table"), database.read() as connection:
        connection.connection.cursor().execute("SELECT x FROM no_such_table")
    database.close()


def test_reader_does_not_wait_for_a_writer(database: Database) -> None:
    put(database, 1)
    with database.write() as connection:
        connection.execute(insert(thing).values(id=2, name="y"))
        assert names(database) == ["x"]
    assert names(database) == ["x", "y"]


def test_many_readers_that_take_their_time_keep_no_writer_out(database: Database) -> None:
    """As many as the server has threads for requests and for its parts, but for the one that writes."""
    with ExitStack() as held:
        for _ in range(63):
            held.enter_context(database.read()).execute(select(thing)).all()
        put(database, 1)
    assert names(database) == ["x"]


def test_writers_take_turns_and_none_is_lost(database: Database) -> None:
    def count_up() -> None:
        for _ in range(20):
            with database.write() as connection:
                changes.append(connection, at_ms=1, unit_path="/", kind="x", subject="y", data={})

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert len(changes.after(connection, 0)) == 80


def test_listener_hears_commits_that_wrote_to_the_change_log(database: Database) -> None:
    heard: list[int] = []
    database.on_change(lambda: heard.append(1))
    put(database, 1)
    assert heard == []
    news(database)
    assert heard == [1]

    def fail() -> None:
        with database.write() as connection:
            changes.append(connection, at_ms=1, unit_path="/", kind="x", subject="y", data={})
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert heard == [1]


def test_change_log_is_read_by_scope_and_in_order(database: Database) -> None:
    news(database, "/bpp/n1/", "A")
    news(database, "/bpp_n1/", "B")
    news(database, "/bpp/n2/", "C")
    with database.read() as connection:
        everything = changes.after(connection, 0)
        assert [change.subject for change in everything] == ["A", "B", "C"]
        assert everything[0].data == {"state": "ปกติ"}
        assert [change.subject for change in changes.after(connection, 0, unit_path="/bpp/")] == ["A", "C"]
        assert [change.subject for change in changes.after(connection, everything[0].number)] == ["B", "C"]
        assert changes.newest(connection) == everything[-1].number


async def test_feed_goes_on_where_the_reader_was(database: Database) -> None:
    feed = ChangeFeed(database)
    await asyncio.to_thread(news, database, "/bpp/", "first")
    running = asyncio.create_task(feed.run())
    stream = feed.follow(0, unit_path="/")
    async with asyncio.timeout(20):
        assert [change.subject for change in await anext(stream)] == ["first"]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(news, database, "/bpp/", "second")
        assert [change.subject for change in await waiting] == ["second"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_feed_hears_of_another_process(database: Database) -> None:
    other = Database(database.url)
    feed = ChangeFeed(database, poll_s=0.05)
    running = asyncio.create_task(feed.run())
    stream = feed.follow(0, unit_path="/")
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(news, other)
    async with asyncio.timeout(20):
        assert len(await waiting) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    other.close()


KEPT_MS = 7 * 86_400_000
NOW_MS = 1_795_485_600_000
OLD_MS = NOW_MS - KEPT_MS - 1


def tell(database: Database, *ages: int, unit_path: str = "/a/") -> None:
    """Write news of these moments."""
    with database.write() as connection:
        for at_ms in ages:
            changes.append(connection, at_ms=at_ms, unit_path=unit_path, kind="position", subject="LMP-1", data={})


def purge(database: Database) -> int:
    return changes.purge(database, kept_ms=KEPT_MS, now_ms=NOW_MS)


def kept(database: Database) -> list[int]:
    with database.read() as connection:
        return [change.number for change in changes.after(connection, changes.bounds(connection)[0])]


def test_old_news_is_purged_and_the_newest_stays(database: Database) -> None:
    assert purge(database) == 0
    tell(database, OLD_MS, OLD_MS, NOW_MS - KEPT_MS, NOW_MS)
    assert purge(database) == 2
    assert kept(database) == [3, 4]
    assert changes.purge(database, kept_ms=KEPT_MS, now_ms=NOW_MS + 10 * KEPT_MS) == 1
    assert purge(database) == 0
    tell(database, NOW_MS)
    assert kept(database) == [4, 5]


def test_purge_goes_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_PURGE_ROWS", 2)
    tell(database, *[OLD_MS] * 5, NOW_MS)
    assert [purge(database) for _ in range(4)] == [2, 2, 1, 0]
    assert kept(database) == [6]


def test_news_that_a_wrong_clock_dated_holds_nothing_up_and_leaves_no_hole(database: Database) -> None:
    tell(database, OLD_MS, NOW_MS + 70 * 365 * 86_400_000, OLD_MS, NOW_MS, 0, NOW_MS)
    assert purge(database) == 3
    assert purge(database) == 0
    assert kept(database) == [4, 5, 6]


def test_several_servers_purge_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_PURGE_ROWS", 10)
    tell(database, *[OLD_MS] * 300, NOW_MS)
    others = [Database(database.url) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = pool.map(lambda other: sum(iter(lambda: purge(other), 0)), others)
    assert sum(done) == 300
    assert kept(database) == [301]
    for other in others:
        other.close()


def test_reader_is_told_when_what_it_goes_on_from_was_purged(database: Database) -> None:
    tell(database, OLD_MS, OLD_MS, NOW_MS, NOW_MS)
    assert purge(database) == 2
    with database.read() as connection:
        assert [change.number for change in changes.after(connection, 2)] == [3, 4]
        for number in (0, 1):
            with pytest.raises(Gone, match="log holds 3 to 4") as told:
                changes.after(connection, number)
            assert told.value.newest == 4


def test_reader_is_told_when_its_number_was_never_given(database: Database) -> None:
    with database.read() as connection:
        assert changes.after(connection, 0) == []
        with pytest.raises(Gone):
            changes.after(connection, 1)


async def test_follower_that_was_too_slow_is_told(database: Database) -> None:
    tell(database, OLD_MS, OLD_MS, NOW_MS)
    feed = ChangeFeed(database)
    stream = feed.follow(0, unit_path="/a/")
    assert len(await anext(stream)) == 3
    stream = feed.follow(1, unit_path="/a/")
    purge(database)
    with pytest.raises(Gone):
        await anext(stream)


async def test_follower_in_a_quiet_scope_missed_nothing(database: Database) -> None:
    feed = ChangeFeed(database, poll_s=0.05)
    running = asyncio.create_task(feed.run())
    waiting = asyncio.ensure_future(anext(feed.follow(0, unit_path="/quiet/")))
    for number in (1, 2):
        await asyncio.to_thread(tell, database, OLD_MS)
        for _ in range(2_000):
            if feed._newest == number:
                break
            await asyncio.sleep(0.01)
    await asyncio.to_thread(purge, database)
    await asyncio.to_thread(tell, database, NOW_MS, unit_path="/quiet/")
    async with asyncio.timeout(20):
        assert [change.number for change in await waiting] == [3]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_log_of_writes_stays_short_though_somebody_always_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "_MAX_BYTES", 1_000_000)
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    metadata.create_all(database.engine, tables=[thing])
    one, two = threading.Semaphore(0), threading.Semaphore(0)
    is_over = threading.Event()

    def read(mine: threading.Semaphore, other: threading.Semaphore) -> None:
        while not is_over.is_set():
            with database.read() as connection:
                connection.execute(select(thing.c.id).limit(1)).all()
                other.release()
                mine.acquire(timeout=10)  # nobody ends before the other has begun anew

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, one, two)]
        two.acquire()
        readers.append(pool.submit(read, two, one))
        for number in range(1_000):
            put(database, number, "x" * 4000)
        size = (tmp_path / "fleet.db-wal").stat().st_size
        is_over.set()
        for semaphore in (one, two):
            semaphore.release()
        for reader in readers:
            reader.result()
    database.close()
    assert size < 4_000_000, size  # 8 kB a commit: 8 MB and more were written


def test_reader_that_stays_lets_the_log_grow_and_the_next_write_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "_MAX_BYTES", 100_000)
    monkeypatch.setattr(wal, "_MAX_WAIT_S", 0)
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    metadata.create_all(database.engine, tables=[thing])
    log = tmp_path / "fleet.db-wal"
    with database.read() as connection:
        assert connection.execute(select(thing)).all() == []
        for number in range(100):
            put(database, number, "x" * 4000)
        assert connection.execute(select(thing)).all() == []
        assert log.stat().st_size > 300_000
    for number in range(100, 200):
        put(database, number, "x" * 4000)
    assert log.stat().st_size < 200_000
    assert len(names(database)) == 200
    database.close()


def test_full_disk_is_told_and_nothing_is_half_done(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'full.db'}")
    metadata.create_all(database.engine, tables=[thing])
    database.engine.dispose()
    pages = 20

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    listen(database.engine, "connect", limit)

    def fill() -> None:
        for number in range(1000):
            put(database, number, "x" * 4000)

    with pytest.raises(StorageFull, match="no room"):
        fill()
    stored = len(names(database))
    assert 0 < stored < 20
    pages = 1_000_000
    database.engine.dispose()
    put(database, 1000)
    assert len(names(database)) == stored + 1
    database.close()


def test_file_is_for_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
        metadata.create_all(database.engine)
        with database.read():
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        database.close()
    finally:
        os.umask(before)
    assert modes == {"fleet.db": 0o600, "fleet.db-wal": 0o600, "fleet.db-shm": 0o600}


def test_file_that_cannot_be_opened_is_an_outage_not_a_crash(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'fleet.db'}")
    with pytest.raises(StorageUnavailable), database.read():
        pass


def test_file_that_is_no_database_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_text("this is no database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    with pytest.raises(StorageDamaged, match="backup"), database.read():
        pass


def test_postgresql_behind_a_dead_line_is_given_up_soon(postgres_url: str) -> None:
    """Of the connection's own settings: a test cannot let packets vanish."""
    database = Database(postgres_url)
    with database.read() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        settings = driver.info.get_parameters()
    database.close()
    patience_s = int(settings["keepalives_idle"]) + int(settings["keepalives_interval"]) * int(settings["keepalives_count"])
    assert (patience_s, settings["tcp_user_timeout"], settings["connect_timeout"]) == (25, "15000", "5")


def test_postgresql_stopped_and_started_again(pytestconfig: pytest.Config, postgres_url: str) -> None:
    del postgres_url  # says that PostgreSQL is here; this test needs one that it may stop
    cluster = Cluster(find_postgres())
    cluster.start()
    try:
        database = Database(cluster.url(cluster.create()))
        metadata.create_all(database.engine, tables=[thing])
        put(database, 1)
        cluster._process.stop()
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                put(database, 2)
        cluster._process.start(is_ready=cluster._is_ready)
        put(database, 3)
        assert len(names(database)) == 2
        with pytest.raises(Transient), database.write() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        put(database, 4)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("ALTER DATABASE test_1 SET default_transaction_read_only = on")
            connection.commit()
        database.engine.dispose()
        with pytest.raises(StorageUnavailable):
            put(database, 5)
        database.close()
    finally:
        cluster.close()

"""What every database under this server promises: transactions, translation of what goes wrong, and the change log."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, IntegrityError

from fleet_server.errors import Transient
from fleet_server.storage import Database, StorageFull, StorageUnavailable, changes
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

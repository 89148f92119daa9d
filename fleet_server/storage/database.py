"""Transactions on SQLite (embedded) and PostgreSQL, with the same promises on both.

Each room keeps its tables in its own `store.py`, on the shared `metadata`; the schema is made by Alembic
(`storage/migrations`). Stores take a `Connection`; services open the transaction.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar, cast

from sqlalchemy import BigInteger, Connection, Engine, Integer, MetaData, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool, QueuePool

from fleet_server.errors import Transient, Untrusted
from fleet_server.storage.wal import WriteAheadLog

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowNumber: Final = BigInteger().with_variant(Integer, "sqlite")
"""Type of a primary key that counts up by itself on both databases."""

_FULL: Final = "the database has no room left: free disk space, then it goes on by itself"
_AWAY: Final = "the database does not answer: check that it runs and can be reached"

_BUSY_MS: Final = 15_000
"""How long writers of several processes wait for each other."""

_DAMAGED: Final = "the database's file is damaged, or is no database: stop the server and restore it from a backup"
_BAD_FILE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

_POOL: Final = {"pool_size": 8, "max_overflow": 56}
"""One for every thread that may ask at once (16 of the server's parts, 8 and 40 of requests), so that readers never keep the writer out."""

_POSTGRESQL: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""A line that swallows everything is given up in seconds (`tcp_user_timeout` in ms); the system's own patience is a quarter of an hour."""

P = ParamSpec("P")
R = TypeVar("R")


class StorageUnavailable(Transient):
    """The database does not answer; nothing was changed."""


class StorageFull(Transient):
    """The database has no room; nothing was changed."""


class StorageDamaged(Untrusted):
    """What the database holds cannot be believed any more."""


class Database:
    """A pool of connections and the rules of a transaction.

    `write()` is one transaction: on SQLite begun IMMEDIATE and one at a time in this process, on PostgreSQL READ
    COMMITTED. `read()` sees one consistent state on SQLite and never blocks a writer. Both translate what the driver
    raises when the database is away or full; anything else passes through.
    """

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's: `sqlite:////path/fleet.db` or `postgresql+psycopg://…`."""
        self.url: Final = url
        self.engine: Final[Engine] = _engine(url)
        self._writing = threading.RLock()
        self._wal = WriteAheadLog(self.engine.url.database or "", busy_ms=_BUSY_MS)
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` (from any thread) after each commit that wrote to the change log."""
        self._listeners.append(listener)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a read transaction.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction; commit when the block ends well, else undo all of it.

        Raises:
            StorageUnavailable: the database does not answer.
            StorageFull: no room is left.
        """
        with _translated():
            if self.is_sqlite:
                with self._writing, self.engine.connect().execution_options(is_writer=True) as connection:
                    with connection.begin():
                        connection.info["changed"] = False
                        yield connection
                        is_changed = connection.info["changed"]
                    self._wal.bound(cast("sqlite3.Connection", connection.connection.driver_connection))
            else:
                with self.engine.begin() as connection:
                    connection.info["changed"] = False
                    yield connection
                    is_changed = connection.info["changed"]
        if is_changed:
            for listener in self._listeners:
                listener()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking function in a worker thread."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def create_all(self) -> None:
        """Make all tables known to `metadata` at once, without migrations (tests only)."""
        metadata.create_all(self.engine)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def dialect_insert(connection: Connection, table: Table) -> Any:
    """Return the database's own INSERT, with `on_conflict_…`. PostgreSQL's takes long to load: not where there is SQLite."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    return sqlite.insert(table)


def serialise(connection: Connection, lock: int) -> None:
    """Let transactions that take the same `lock` commit one after the other, so that counted rows appear in order.

    On SQLite writers are serial already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, poolclass=QueuePool, **_POOL, pool_pre_ping=True, connect_args=_POSTGRESQL)
    _make_private(url)
    engine = create_engine(
        url,
        poolclass=NullPool if ":memory:" in url else QueuePool,
        **({} if ":memory:" in url else _POOL),
        connect_args={"check_same_thread": False, "isolation_level": None},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private(url: str) -> None:
    """Make a new file that nobody else may read: it will hold the hashes of passwords. SQLite gives the same rights to -wal and -shm."""
    path = make_url(url).database
    if path is not None and path != ":memory:":
        with suppress(OSError):  # SQLite will say what is wrong with it
            os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS:d}")


def _begin_sqlite(connection: Connection) -> None:
    # The driver is in autocommit mode (isolation_level None), so that a transaction starts when and as we say.
    is_writer = connection.get_execution_options().get("is_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        cause = error.orig
        if _is_full(cause):
            raise StorageFull(_FULL) from error
        if _is_defect(cause):
            raise
        if getattr(cause, "sqlite_errorcode", None) in _BAD_FILE:
            raise StorageDamaged(_DAMAGED) from error
        if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated or _is_read_only(cause):
            raise StorageUnavailable(_AWAY) from error
        raise
    except PoolTimeout as error:
        raise StorageUnavailable("the database is too busy: all connections are in use") from error
    except sqlite3.OperationalError as error:  # met by a store that talks to the driver itself
        if _is_defect(error):
            raise
        raise (StorageFull(_FULL) if _is_full(error) else StorageUnavailable(_AWAY)) from error


def _is_defect(cause: BaseException | None) -> bool:
    """Whether a statement of ours is wrong. SQLite raises the same class for it as for a database that is away, with its general code."""
    return isinstance(cause, sqlite3.OperationalError) and getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _is_full(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.OperationalError):
        return "full" in str(cause) or "disk I/O" in str(cause)
    return getattr(cause, "sqlstate", None) == "53100"


def _is_read_only(cause: BaseException | None) -> bool:
    """Whether this is a PostgreSQL that became a standby: its successor will answer."""
    return getattr(cause, "sqlstate", None) == "25006"

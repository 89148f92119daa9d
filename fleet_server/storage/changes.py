"""The change log: numbered, durable news for live pages. Who lost the feed asks for what came after its last number."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Index, Table, Text, delete, func, insert, select
from sqlalchemy import String as Str

from fleet_server.errors import Gone, Transient
from fleet_server.storage.database import Database, RowNumber, metadata, serialise

_LOCK: Final = 7_301
_PURGE_LOCK: Final = 7_308
_PURGE_ROWS: Final = 500
"""At once: about 20 ms on SQLite, 10 ms on PostgreSQL."""
_log = logging.getLogger(__name__)

change = Table(
    "change",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("unit_path", Str(200), nullable=False),
    Column("kind", Str(32), nullable=False),
    Column("subject", Str(128), nullable=False),
    Column("data", Text, nullable=False),
    Index("ix_change_unit_path_number", "unit_path", "number"),
    sqlite_autoincrement=True,
)


_ADD: Final = insert(change)
"""Made once: to build it anew for each piece of news cost four times what storing it does."""


@dataclass(frozen=True, slots=True)
class Change:
    """One piece of news. `subject` names what changed (a position's code, a node, an event id)."""

    number: int
    at_ms: int
    unit_path: str
    kind: str
    subject: str
    data: dict[str, Any]


def append(connection: Connection, *, at_ms: int, unit_path: str, kind: str, subject: str, data: dict[str, Any]) -> None:
    """Add news in the caller's transaction; readers are woken when it commits."""
    serialise(connection, _LOCK)
    values = {"at_ms": at_ms, "unit_path": unit_path, "kind": kind, "subject": subject, "data": json.dumps(data, separators=(",", ":"))}
    connection.execute(_ADD, values)
    connection.info["changed"] = True


def newest(connection: Connection) -> int:
    """Return the highest number, 0 when there is none."""
    return int(connection.execute(select(func.coalesce(func.max(change.c.number), 0))).scalar_one())


def after(connection: Connection, number: int, *, unit_path: str = "/", limit: int = 500) -> list[Change]:
    """Return news of the units below `unit_path` that came after `number`, oldest first.

    Raises:
        Gone: see `check_holds`.
    """
    query = (
        select(change)
        .where(change.c.number > number, change.c.unit_path.startswith(unit_path, autoescape=True))
        .order_by(change.c.number)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    check_holds(connection, number)  # after they were read, so that no purge between the two goes unseen
    return [Change(r.number, r.at_ms, r.unit_path, r.kind, r.subject, json.loads(r.data)) for r in rows]


def bounds(connection: Connection) -> tuple[int, int]:
    """Return the number after which all news is kept, and the newest number; both 0 before there was any."""
    first = select(func.coalesce(func.min(change.c.number), 1)).scalar_subquery()
    last = select(func.coalesce(func.max(change.c.number), 0)).scalar_subquery()
    row = connection.execute(select(first, last)).one()
    return int(row[0]) - 1, int(row[1])


def check_holds(connection: Connection, number: int) -> None:
    """See that all news after `number` is here.

    Raises:
        Gone: some was purged, or `number` is of another database than this one, which was restored.
    """
    kept_after, newest_number = bounds(connection)
    if not kept_after <= number <= newest_number:
        raise Gone(
            f"What came after change {number} is not all here: the log holds {kept_after + 1} to {newest_number}. "
            f"Read the state anew, and go on after {newest_number}.",
            newest=newest_number,
        )


def purge(database: Database, *, kept_ms: int, now_ms: int) -> int:
    """Forget some of the news that is older than `kept_ms`, oldest first; return how many, 0 when there is no more.

    The newest always stays: it says how far readers can have come. News from the future was told by a clock that was wrong: it is
    as old as what is around it, and must not hold up the purge until its day comes.

    Raises:
        StorageUnavailable: nothing was forgotten.
    """
    with database.write() as connection:
        serialise(connection, _PURGE_LOCK)
        query = select(change.c.number, change.c.at_ms).where(change.c.number < newest(connection)).order_by(change.c.number)
        rows = connection.execute(query.limit(_PURGE_ROWS))
        old = [row.number for row in takewhile(lambda row: not now_ms - kept_ms <= row.at_ms <= now_ms, rows)]
        if old:
            between = change.c.number.between(old[0], old[-1])  # with both ends PostgreSQL takes the index, statistics or none
            connection.execute(delete(change).where(between))
    return len(old)


class ChangeFeed:
    """Wakes many readers with one look at the database; polls too, because another process may have written."""

    def __init__(self, database: Database, *, poll_s: float = 0.5) -> None:
        """`poll_s` bounds how late news of another process arrives; news of this process arrives at once."""
        self._database = database
        self._poll_s = poll_s
        self._newest = 0
        self._written = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def run(self) -> None:
        """Watch for news until cancelled. While the database is away there is none: readers wait on."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # that loop was closed meanwhile
                loop.call_soon_threadsafe(self._written.set)

        self._database.on_change(wake)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._written.wait()
            self._written.clear()
            try:
                newest_number = await self._database.run(self._read_newest)
            except Transient as error:
                _log.debug("News wait: %s", error)
                continue
            if newest_number != self._newest:
                self._newest = newest_number
                async with self._arrived:
                    self._arrived.notify_all()

    async def follow(self, number: int, *, unit_path: str) -> AsyncIterator[list[Change]]:
        """Yield what came after `number`, and then everything new; an empty list every 15 s as a sign of life.

        Raises:
            Gone: see `check_holds`; also when the reader takes its news so slowly that they are purged before.
        """
        while True:
            seen = self._newest
            news = await self._database.run(self._read_after, number, unit_path)
            if news:
                number = news[-1].number
                yield news
                continue
            number = max(number, seen)  # in a quiet scope too, what is purged was looked at
            if not await self._wait_beyond(seen):
                yield []

    async def _wait_beyond(self, seen: int) -> bool:
        """Wait for news after number `seen`; False when 15 s passed without."""
        try:
            async with asyncio.timeout(15), self._arrived:
                await self._arrived.wait_for(lambda: self._newest > seen)
        except TimeoutError:
            return False
        return True

    def _read_newest(self) -> int:
        with self._database.read() as connection:
            return newest(connection)

    def _read_after(self, number: int, unit_path: str) -> list[Change]:
        with self._database.read() as connection:
            return after(connection, number, unit_path=unit_path)

"""The feed of changes outlives the database's absences."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from fleet_server.storage import Database
from fleet_server.storage.changes import ChangeFeed, append
from fleet_server.storage.database import StorageUnavailable, metadata


class AbsentDatabase(Database):
    """Is away for the first three questions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.absences = 3
        self.is_back = threading.Event()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self.absences:
            self.absences -= 1
            raise StorageUnavailable("away")
        self.is_back.set()
        with super().read() as connection:
            yield connection


async def test_feed_goes_on_when_the_database_is_back(tmp_path: Path) -> None:
    database = AbsentDatabase(f"sqlite:///{tmp_path / 'fleet.db'}")
    metadata.create_all(database.engine)
    feed = ChangeFeed(database, poll_s=0.01)
    watching = asyncio.create_task(feed.run())
    assert await asyncio.to_thread(database.is_back.wait, 10)
    assert not watching.done()
    with database.write() as connection:
        append(connection, at_ms=1, unit_path="/a/", kind="press", subject="x", data={})
    async with asyncio.timeout(10):
        assert [change.subject for change in await anext(feed.follow(0, unit_path="/"))] == ["x"]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    database.close()

"""A database that is away for a while, as its own driver would say it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from fleet_server.storage import Database


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Let the file of an SQLite database be gone for every statement, and back again."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    event.listen(database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", fail)

"""What a worn card does to a database."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

PAGE = 1024


def spoil(path: Path) -> None:
    """Overwrite the first page of the heartbeats in an outbox that is closed, as if it had not been closed in order."""
    with closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'heartbeat'").fetchone()[0]
        db.execute("UPDATE meta SET value = '0' WHERE key = 'is_clean'")
        db.commit()
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(os.urandom(PAGE))


class NoCommit:
    """A connection to a card that takes everything but the end of a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, text: str, *values: Any) -> sqlite3.Cursor:
        if text == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(text, *values)

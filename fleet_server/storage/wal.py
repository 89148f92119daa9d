"""SQLite's write-ahead log, kept from growing without end.

SQLite begins the log anew by itself, but only at a moment at which nobody reads. Where one reader begins before the other ends that
moment never comes, and the log grows with each commit. So whoever wrote, and finds it too long, waits a little for those who read.
Source: sqlite.org/wal.html, 6, "Avoiding Excessively Large WAL Files".
"""

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
_MAX_BYTES: Final = 64 << 20
_MAX_WAIT_S: Final = 5


class WriteAheadLog:
    """The log beside one database file. Not thread-safe: writers take turns."""

    def __init__(self, database: str, *, busy_ms: int) -> None:
        """`database` is the path of its file; `busy_ms` is how long connections wait for each other otherwise."""
        self._path = Path(f"{database}-wal")
        self._busy_ms = busy_ms
        self._next_bytes = _MAX_BYTES

    def bound(self, connection: sqlite3.Connection) -> None:
        """Write the log into the database and empty it, if it is too long; call it after a commit, outside a transaction.

        It waits a second for readers. If they read for longer, the log grows by another 64 MB before the next try, which is more patient
        by a second, up to five. A fault here takes nothing back of what was committed, and is met again by the next who writes.
        """
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._next_bytes:
            return
        self._next_bytes = size + _MAX_BYTES
        wait_s = min(size // _MAX_BYTES, _MAX_WAIT_S)
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout = {wait_s * 1000:d}")
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            connection.execute(f"PRAGMA busy_timeout = {self._busy_ms:d}")
            if is_busy:
                _log.warning("%s holds %d MB: somebody reads for longer than %d s", self._path, size >> 20, wait_s)
            else:
                self._next_bytes = _MAX_BYTES

"""The outbox's file: opened for one connection, checked after an unclean end, replaced when it is damaged."""

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from firmware_agent import files
from firmware_agent.outbox.model import OutboxBusy, StorageFailed

_PAGE: Final = 1024
"""Small pages halve what is written to the card: 6.4 kB instead of 14.3 kB per heartbeat of 700 bytes (measured)."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream(id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL UNIQUE,
    made INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0, evicted INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS heartbeat(id INTEGER PRIMARY KEY, at_ms INTEGER, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS event(id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memory(channel TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY(channel, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result(id INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
"""

_log = logging.getLogger(__name__)


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the file. A damaged one is renewed (and kept as `…-damaged`): its events are rescued as far as they can be read.

    Raises:
        OutboxBusy: another agent has it.
        StorageFailed: it cannot be opened at all.
    """
    try:
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            _log.error("the outbox %s is damaged (%s); a new one takes its place", path, error)
            _renew(path)
            return _open(path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutboxBusy(f"Another agent uses {path}; only one may run in a data folder.") from error
        raise StorageFailed(f"The outbox {path} cannot be opened: {error}") from error


def _renew(path: Path) -> None:
    """Put a new file with the rescued events in the place of the damaged one. Ended at any point, it can be begun again."""
    fresh, damaged = path.with_name(f"{path.name}-fresh"), path.with_name(f"{path.name}-damaged")
    db = _open(fresh)
    try:
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO event(event_id, body) VALUES (?, ?)", _rescue_events(path))
        db.execute("COMMIT")
    finally:
        db.close()
    with suppress(OSError):  # it is kept for those who want to know why, where the file system can
        damaged.unlink(missing_ok=True)
        damaged.hardlink_to(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    fresh.replace(path)
    files.sync_directory(path.parent)


def _open(path: Path) -> sqlite3.Connection:
    with suppress(OSError):  # what is in the way is said by the database below
        path.touch()
        path.chmod(0o600)  # settings that the server wants are kept here, a camera's password among them
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")  # one connection for ever: no shared memory, and a second agent is refused
        db.execute(f"PRAGMA page_size={_PAGE:d}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=512")
        db.execute("PRAGMA journal_size_limit=524288")
        db.execute("PRAGMA cache_size=-512")
        db.executescript(_SCHEMA)
        if meta(db, "is_clean") != "1" and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
    except BaseException:
        db.close()
        raise
    return db


def meta(db: sqlite3.Connection, key: str) -> str | None:
    """Return a value of the table `meta`."""
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else str(found[0])


def inode(path: Path) -> str:
    """Return what tells this file from a copy of it."""
    found = path.stat()
    return f"{found.st_dev}.{found.st_ino}"


def _rescue_events(path: Path) -> list[tuple[str, bytes]]:
    """Read what can still be read of the events in a damaged file."""
    events: list[tuple[str, bytes]] = []
    with suppress(sqlite3.Error):
        db = sqlite3.connect(path, isolation_level=None)
        try:
            events.extend(db.execute("SELECT event_id, body FROM event ORDER BY id"))
        except sqlite3.Error:
            _log.exception("events in the damaged outbox cannot be read")
        finally:
            db.close()
    return events

"""The outbox on SQLite: one connection, used by one thread (SQLite 3.40 has a WAL race with two).

Heartbeats are committed before they are sent, with `synchronous=NORMAL`: a killed agent loses none, a power cut may lose the
last; then the boot id has changed and a new stream begins, so no number is used twice. Events are committed with
`synchronous=FULL`, each in a transaction of its own, which also counts them. A new stream begins at every boot and for every
new or copied database file, which covers lost commits and re-imaged cards alike.

Source: reference `edge.md` §4.3.
"""

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from firmware_agent.contract import messages
from firmware_agent.contract.ids import BootId, EventId, NodeId, StreamId, event_id, new_stream
from firmware_agent.contract.messages import MAX_HELD, MAX_MESSAGE_BYTES, MAX_REPLAYED, Ack, Event, Heartbeat, Held
from firmware_agent.outbox import model
from firmware_agent.outbox.ballast import Ballast
from firmware_agent.outbox.database import inode, meta, open_database
from firmware_agent.outbox.model import (
    Batch,
    Counts,
    Limits,
    Span,
    StorageFailed,
    StoredEvent,
    StoredHeartbeat,
    StreamCount,
)

T = TypeVar("T")

_STRIDE: Final = 1 << 44
"""A heartbeat's row number is `stream row × stride + seq`, so the table is ordered oldest first with no second index."""
_KEPT_STREAMS: Final = 8
_KEPT_RESULTS: Final = 256
_EVICT_AT_ONCE: Final = 64
_FULL_BELOW: Final = 256 * 1024
"""With less free space, in bytes, it is the disk that is full and not our own cap that is reached."""
_EVICT_BY_AGE: Final = 2
"""Old heartbeats evicted per new one: enough to keep up, too few for a wrong clock to empty the outbox."""

_log = logging.getLogger(__name__)


class Store:
    """The outbox's database. All methods block on the disk and belong to one thread.

    Raises:
        StorageFailed: (all methods that write) the card did not take it; nothing has changed.
    """

    def __init__(self, path: Path, *, node: NodeId, boot: BootId, limits: Limits | None = None, hardware: str = "") -> None:
        """Open or make the database at `path`.

        `boot` and `hardware` (a fingerprint of the machine) decide whether the last stream may go on. A damaged file is moved
        aside (`…-damaged`) and its events are rescued as far as they can be read.
        """
        self._node = node
        self._limits = limits or Limits()
        self._path = path
        self._ballast = Ballast(path.with_name("ballast"), self._limits.ballast_bytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open(path)
        self.cap(self._limits.max_bytes)
        self._stream, self._row = self._with_room(lambda: self._choose_stream(boot, f"{hardware}/{inode(path)}"))
        self._ballast.restore()

    # — opening ——————————————————————————————————————————————————————————————————————————————————————————————————

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return open_database(path)
        except StorageFailed:
            if not self._ballast.release():
                raise
            return open_database(path)

    def _choose_stream(self, boot: BootId, hardware: str) -> tuple[StreamId, int]:
        known = meta(self._db, "stream")
        may_go_on = known is not None and meta(self._db, "boot") == boot and meta(self._db, "hardware") == hardware
        with self._writing(is_durable=True):
            self._set_meta("is_clean", "0")
            self._set_meta("boot", boot)
            self._set_meta("hardware", hardware)
            if not may_go_on:
                return self._begin_stream()
        row: int = self._db.execute("SELECT id FROM stream WHERE stream = ?", (known,)).fetchone()[0]
        return StreamId(known or ""), row

    def _begin_stream(self) -> tuple[StreamId, int]:
        stream = new_stream()
        cursor = self._db.execute("INSERT INTO stream(stream) VALUES (?)", (stream,))
        self._set_meta("stream", stream)
        self._drop_finished_streams()
        return stream, int(cursor.lastrowid or 0)

    def _drop_finished_streams(self) -> None:
        """Keep the books of the last few streams only, and the sum of what the others evicted."""
        rows = self._db.execute("SELECT id, evicted, made = acked + evicted FROM stream ORDER BY id DESC").fetchall()
        for row, evicted, is_finished in rows[_KEPT_STREAMS:]:
            if is_finished:
                self._add_meta("evicted_before", evicted)
                self._db.execute("DELETE FROM stream WHERE id = ?", (row,))

    def cap(self, max_bytes: int) -> None:
        """Hold no more than this in the file from now on."""
        self._may_use(max_bytes // self._pages("page_size"))

    def close(self) -> None:
        """Mark a clean end and close; to be called last."""
        with suppress(StorageFailed, sqlite3.Error):
            with self._writing(is_durable=True):
                self._set_meta("is_clean", "1")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    # — heartbeats ———————————————————————————————————————————————————————————————————————————————————————————————

    @property
    def stream(self) -> StreamId:
        """The stream that new heartbeats and events belong to."""
        return self._stream

    def put_heartbeat(self, draft: Heartbeat) -> StoredHeartbeat:
        """Give the draft its stream, `seq` and `floor`, and commit it."""
        at_ms = draft.clock.wall_ms if draft.clock.quality.is_trusted else None

        def put() -> StoredHeartbeat:
            with self._writing(is_durable=False):
                seq = self._made() + 1
                floor = min(self._floor(self._row) or seq, seq)
                body = messages.encode(msgspec.structs.replace(draft, stream=self._stream, seq=seq, floor=floor))
                self._db.execute("INSERT INTO heartbeat(id, at_ms, body) VALUES (?, ?, ?)", (self._row * _STRIDE + seq, at_ms, body))
                self._db.execute("UPDATE stream SET made = ? WHERE id = ?", (seq, self._row))
                return StoredHeartbeat(self._stream, seq, body)

        stored = self._with_room(put)
        if at_ms is not None:
            self._evict("AND at_ms < ?", (at_ms - self._limits.retention_ms,), _EVICT_BY_AGE)
        if stored.seq % 64 == 0:
            self._ballast.restore()
        return stored

    def batch(self, stream: StreamId, spans: Sequence[Span]) -> Batch | None:
        """Return the next heartbeats held in `spans`, ascending, as many as one message takes; None when there are none."""
        row = self._row_of(stream)
        if row is None:
            return None
        seqs: list[int] = []
        bodies: list[bytes] = []
        room = MAX_MESSAGE_BYTES - len(model.REPLAY_HEAD) - len(model.REPLAY_TAIL)
        for low, high in spans:
            found = self._db.execute(
                "SELECT id, body FROM heartbeat WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (row * _STRIDE + low, row * _STRIDE + min(high, _STRIDE - 1), MAX_REPLAYED - len(seqs)),
            )
            for key, body in found:
                room -= len(body) + 1
                if room < 0:
                    return _batch(stream, seqs, bodies)
                seqs.append(key - row * _STRIDE)
                bodies.append(body)
            if len(seqs) >= MAX_REPLAYED:
                break
        return _batch(stream, seqs, bodies)

    def held(self) -> list[Held]:
        """Return what is held of each stream, oldest first; at most what a birth may list, the current stream always among it."""
        found = [
            Held(StreamId(stream), floor, self._top(row))
            for row, stream in self._db.execute("SELECT id, stream FROM stream WHERE made > acked + evicted ORDER BY id").fetchall()
            if (floor := self._floor(row)) is not None
        ]
        return found if len(found) <= MAX_HELD else [*found[: MAX_HELD - 1], found[-1]]

    # — events ———————————————————————————————————————————————————————————————————————————————————————————————————

    def put_event(self, draft: Event) -> StoredEvent:
        """Give the draft its id and commit it so that not even a power cut loses it."""

        def put() -> StoredEvent:
            with self._writing(is_durable=True):
                n = int(self._db.execute("SELECT events FROM stream WHERE id = ?", (self._row,)).fetchone()[0]) + 1
                new = event_id(self._node, self._stream, n)
                body = messages.encode(msgspec.structs.replace(draft, event_id=new))
                self._db.execute("UPDATE stream SET events = ? WHERE id = ?", (n, self._row))
                self._insert_event(new, body)
                return StoredEvent(new, body)

        return self._with_room(put)

    def keep_event(self, event: StoredEvent) -> None:
        """Store an event that already has its id, because the card refused it before."""

        def put() -> None:
            with self._writing(is_durable=True):
                self._insert_event(event.event_id, event.body)

        self._with_room(put)

    def _insert_event(self, new: EventId, body: bytes) -> None:
        cursor = self._db.execute("INSERT OR IGNORE INTO event(event_id, body) VALUES (?, ?)", (new, body))
        self._add_meta("events_made", cursor.rowcount)

    def events(self) -> list[StoredEvent]:
        """Return all events held, oldest first."""
        return [StoredEvent(EventId(key), body) for key, body in self._db.execute("SELECT event_id, body FROM event ORDER BY id")]

    # — acknowledgements —————————————————————————————————————————————————————————————————————————————————————————

    def apply(self, ack: Ack) -> bool:
        """Forget what the server says it has stored, and nothing else.

        Return whether it covers numbers that were never made: this stream is used twice, so it was renewed and the ack not believed.
        """
        self._forget_events(ack.events)
        row = None if ack.stream is None else self._row_of(ack.stream)
        if row is None:
            return False
        if row == self._row and ack.through > self._made():
            _log.error(
                "the server knows %s of stream %s, we made %s: a copy of this node runs; new stream", ack.through, ack.stream, self._made()
            )
            with self._writing(is_durable=True):
                begun = self._begin_stream()
            self._stream, self._row = begun
            return True
        for span in model.stored_spans(ack.through, ack.gaps):
            self._forget(row, span)
        return False

    def _forget(self, row: int, span: Span) -> None:
        low, high = row * _STRIDE + span[0], row * _STRIDE + min(span[1], _STRIDE - 1)
        while True:
            with self._writing(is_durable=False):
                count = self._db.execute(
                    "DELETE FROM heartbeat WHERE id IN (SELECT id FROM heartbeat WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1000)",
                    (low, high),
                ).rowcount
                if count:
                    self._db.execute("UPDATE stream SET acked = acked + ? WHERE id = ?", (count, row))
            if count < 1000:
                return

    def _forget_events(self, events: Sequence[EventId]) -> None:
        if not events:
            return
        with self._writing(is_durable=False):
            known = [e for e in events if self._db.execute("DELETE FROM event WHERE event_id = ?", (e,)).rowcount]
            self._add_meta("events_acked", len(known))

    # — memory ———————————————————————————————————————————————————————————————————————————————————————————————————

    def memory(self) -> dict[tuple[str, str], str]:
        """Return all that is remembered, by channel and key."""
        return {(channel, key): value for channel, key, value in self._db.execute("SELECT channel, key, value FROM memory")}

    def remember(self, channel: str, key: str, value: str | None) -> None:
        """Set a value durably; None forgets it."""

        def put() -> None:
            with self._writing(is_durable=True):
                if value is None:
                    self._db.execute("DELETE FROM memory WHERE channel = ? AND key = ?", (channel, key))
                else:
                    self._db.execute("INSERT OR REPLACE INTO memory(channel, key, value) VALUES (?, ?, ?)", (channel, key, value))

        self._with_room(put)

    def results(self) -> dict[str, bytes]:
        """Return the results of the last commands, oldest first, by command id."""
        return dict(self._db.execute("SELECT command_id, body FROM result ORDER BY id").fetchall())

    def put_result(self, command_id: str, body: bytes) -> None:
        """Remember how a command ended; only the last 256 are kept."""

        def put() -> None:
            with self._writing(is_durable=True):
                self._db.execute("INSERT OR REPLACE INTO result(command_id, body) VALUES (?, ?)", (command_id, body))
                self._db.execute("DELETE FROM result WHERE id NOT IN (SELECT id FROM result ORDER BY id DESC LIMIT ?)", (_KEPT_RESULTS,))

        self._with_room(put)

    # — the books ————————————————————————————————————————————————————————————————————————————————————————————————

    def counts(self) -> Counts:
        """Return the books, cheaply."""
        rows = self._db.execute("SELECT stream, made, acked, evicted FROM stream ORDER BY id").fetchall()
        held: int = self._db.execute("SELECT count(*) FROM event").fetchone()[0]
        acked = int(meta(self._db, "events_acked") or 0)
        before = int(meta(self._db, "evicted_before") or 0)
        return Counts(tuple(StreamCount(StreamId(s), m, a, e) for s, m, a, e in rows), acked + held, acked, held, before)

    def _made(self) -> int:
        made: int = self._db.execute("SELECT made FROM stream WHERE id = ?", (self._row,)).fetchone()[0]
        return made

    def _row_of(self, stream: StreamId) -> int | None:
        found = self._db.execute("SELECT id FROM stream WHERE stream = ?", (stream,)).fetchone()
        return int(found[0]) if found else None

    def _floor(self, row: int) -> int | None:
        found = self._db.execute(
            "SELECT min(id) FROM heartbeat WHERE id BETWEEN ? AND ?", (row * _STRIDE, (row + 1) * _STRIDE - 1)
        ).fetchone()[0]
        return None if found is None else int(found) - row * _STRIDE

    def _top(self, row: int) -> int:
        found = self._db.execute(
            "SELECT max(id) FROM heartbeat WHERE id BETWEEN ? AND ?", (row * _STRIDE, (row + 1) * _STRIDE - 1)
        ).fetchone()[0]
        return int(found) - row * _STRIDE

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (key, value))

    def _add_meta(self, key: str, more: int) -> None:
        if more > 0:
            self._set_meta(key, str(int(meta(self._db, key) or 0) + more))

    # — space ————————————————————————————————————————————————————————————————————————————————————————————————————

    @contextmanager
    def _writing(self, *, is_durable: bool) -> Iterator[None]:
        """One transaction; durable against power cuts or only against the death of this process."""
        try:
            self._db.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StorageFailed(f"The outbox cannot be written: {error}") from error
            raise

    def _with_room(self, put: Callable[[], T]) -> T:
        """Run `put`; when there is no room, make some and run it again."""
        for _ in range(32):
            try:
                return put()
            except StorageFailed as error:
                if not _is_full(error) or not self._make_room():
                    raise
        return put()

    def _make_room(self) -> bool:
        """Evict heartbeats; when there are none and it is our own cap, lift it. False: nothing helps."""
        try:
            is_disk_full = shutil.disk_usage(self._path.parent).free < _FULL_BELOW
            was_released = is_disk_full and self._ballast.release()
            evicted = self._evict("", (), _EVICT_AT_ONCE)
            if is_disk_full:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return was_released or evicted > 0
            if not evicted:
                self._may_use(self._pages("max_page_count") + 1024)
        except (StorageFailed, sqlite3.Error, OSError):
            return False
        return True

    def _evict(self, condition: str, values: tuple[int, ...], count: int) -> int:
        """Forget the oldest heartbeats that the server has not stored, and count them."""
        query = f"SELECT id FROM heartbeat WHERE id IN (SELECT id FROM heartbeat ORDER BY id LIMIT {count:d}) {condition}"  # noqa: S608  # ours
        keys = [int(key) for (key,) in self._db.execute(query, values)]
        if keys:
            with self._writing(is_durable=False):
                for key in keys:
                    self._db.execute("DELETE FROM heartbeat WHERE id = ?", (key,))
                    self._db.execute("UPDATE stream SET evicted = evicted + 1 WHERE id = ?", (key // _STRIDE,))
        return len(keys)

    def _may_use(self, pages: int) -> None:
        self._db.execute(f"PRAGMA max_page_count={max(pages, 128):d}")

    def _pages(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _batch(stream: StreamId, seqs: list[int], bodies: list[bytes]) -> Batch | None:
    if not seqs:
        return None
    return Batch(stream, model.spans_of(seqs), model.REPLAY_HEAD + b",".join(bodies) + model.REPLAY_TAIL)


def _is_full(error: StorageFailed) -> bool:
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL

"""The journal: each message once, as received. The one truth; everything else is derived from it and can be made again."""

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.messages import BadMessage, Event, Heartbeat, decode
from firmware_agent.contract.topics import Up
from fleet_server.ingest import store
from fleet_server.ingest.model import Entry, Row, StreamKey, StreamRecord, advance
from fleet_server.ingest.store import MessageKey
from fleet_server.ingest.tail import Tail
from fleet_server.storage.database import Database, serialise

_LOCK: Final = 7_302
_POLL_S: Final = 0.5
_MAX_BOOTS: Final = 50_000


@dataclass(slots=True)
class Appended:
    """What became of a batch."""

    stored: int = 0
    duplicates: int = 0
    """Stored before: harmless, and acknowledged again."""
    reused: list[Entry] = field(default_factory=list)
    """Same stream and number as a stored message, other content. The first one stays."""
    streams: dict[StreamKey, StreamRecord] = field(default_factory=dict)
    """Each stream that the batch touched, as it is now."""
    gapped: set[StreamKey] = field(default_factory=set)
    """Streams in which a new gap opened."""
    born: set[StreamKey] = field(default_factory=set)
    """Streams that a birth named."""


class Journal:
    """Appends in the order of commits, reads in the order of ids, and keeps the cursors of its readers.

    Ids become visible in ascending order, also when several processes append, so a reader that asks for what came after
    the last id it saw misses nothing.
    """

    def __init__(self, database: Database) -> None:
        """`database` holds the tables of this room."""
        self._database = database
        self._boots: set[tuple[NodeId, BootId]] = set()
        self._lock = threading.Lock()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._tail = Tail()
        self._newest = 0
        """At least this id is in the journal."""
        self._looked_s = -_POLL_S

    def append(self, entries: Sequence[Entry], *, held: Mapping[StreamKey, int] = MappingProxyType({})) -> Appended:
        """Store a batch in one transaction: all of it or nothing. Duplicates are harmless.

        `held` is what births say: the floor of each stream that a node holds.

        Raises:
            StorageUnavailable: nothing was stored; try the same batch again.
            StorageFull: nothing was stored; try the same batch again once there is room.
        """
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            before = store.newest_id(connection)
            appended, fresh = _append(connection, entries, held)
            offsets = self._new_offsets(entries)
            store.add_boots(connection, offsets)
            newest = store.newest_id(connection)
        if len(self._boots) > _MAX_BOOTS:
            self._boots.clear()
        self._boots.update(offsets)
        self._tail.extend(fresh, before=before, newest=newest)
        self._wake(newest)
        return appended

    def after(self, number: int, *, limit: int, topics: Iterable[Up] | None = None) -> list[Row]:
        """Return at most `limit` messages with ids above `number`, ascending."""
        wanted = None if topics is None else frozenset(topics)
        with self._database.read() as connection:
            rows = self._tail.after(number, newest=store.newest_id(connection), limit=limit, topics=wanted)
            return store.rows_after(connection, number, limit=limit, topics=wanted) if rows is None else rows

    def of_node(self, node: NodeId, *, from_ms: int, to_ms: int, topics: Iterable[Up] = (Up.HEARTBEAT,)) -> list[Row]:
        """Return a node's messages dated in `[from_ms, to_ms)`, and its undated ones received since `from_ms`; ascending by id."""
        with self._database.read() as connection:
            return store.rows_of_node(connection, node, from_ms=from_ms, to_ms=to_ms, topics=topics)

    def newest_id(self) -> int:
        """Return the highest id, 0 when the journal is empty."""
        with self._database.read() as connection:
            return store.newest_id(connection)

    def boot_offset(self, node: NodeId, boot: BootId) -> int | None:
        """Return wall clock minus monotonic clock (ms) as first told by a trusted clock of that boot; None while unknown."""
        with self._database.read() as connection:
            return store.boot_offset(connection, node, boot)

    def streams(self, node: NodeId) -> list[StreamRecord]:
        """Return what is known of each stream of a node."""
        with self._database.read() as connection:
            return store.streams_of(connection, node)

    def cursor(self, name: str) -> int:
        """Return how far the reader `name` has come; 0 for a new one."""
        with self._database.read() as connection:
            return store.cursor(connection, name)

    def set_cursor(self, connection: Connection, name: str, number: int) -> None:
        """Move a cursor in the transaction that stores what the reader derived, so that both happen or neither."""
        store.set_cursor(connection, name, number)

    async def wait_beyond(self, number: int) -> int:
        """Wait until there is a message with an id above `number`; return the newest id.

        Woken at once by commits of this process, within half a second by those of another.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiters.add(waiter)
        try:
            while self._newest <= number:
                if waiter[0].time() - self._looked_s >= _POLL_S:  # nobody tells us of what another process writes
                    self._looked_s = waiter[0].time()
                    self._newest = max(self._newest, await self._database.run(self.newest_id))
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await waiter[1].wait()
                waiter[1].clear()
            return self._newest
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _wake(self, newest: int) -> None:
        with self._lock:
            self._newest = max(self._newest, newest)
            for loop, event in self._waiters:
                with suppress(RuntimeError):  # that loop was closed meanwhile: nobody waits there
                    loop.call_soon_threadsafe(event.set)

    def _new_offsets(self, entries: Sequence[Entry]) -> dict[tuple[NodeId, BootId], int]:
        offsets: dict[tuple[NodeId, BootId], int] = {}
        for entry in entries:
            if entry.at_ms is not None and entry.mono_ms is not None and entry.boot is not None:
                key = (entry.node, entry.boot)
                if key not in self._boots:
                    offsets.setdefault(key, entry.at_ms - entry.mono_ms)
        return offsets


def _append(connection: Connection, entries: Sequence[Entry], held: Mapping[StreamKey, int]) -> tuple[Appended, list[Entry]]:
    """Return what became of the entries, and those that were stored."""
    appended = Appended(born=set(held))
    keys = {(e.node, e.stream): None for e in entries if e.topic is Up.HEARTBEAT and e.stream is not None} | dict.fromkeys(held)
    records = store.streams(connection, list(keys))
    present = store.payloads(connection, _doubtful(entries, records))
    fresh: list[Entry] = []
    for entry in entries:
        key = _key(entry)
        before = None if key is None else present.get(key)
        if before is None:
            fresh.append(entry)
            if key is not None:
                present[key] = entry.payload
        elif before == entry.payload or _says_the_same(entry.topic, before, entry.payload):
            appended.duplicates += 1
        else:
            appended.reused.append(entry)
        if entry.topic is Up.HEARTBEAT:
            _account(entry, records, appended, is_new=before is None)
    for (node, name), floor in held.items():
        records[node, name] = (records.get((node, name)) or StreamRecord(name)).raised(floor)
    appended.stored = len(fresh)
    appended.streams = records
    store.add_rows(connection, fresh)
    store.save_streams(connection, records)
    return appended, fresh


def _key(entry: Entry) -> MessageKey | None:
    if entry.stream is None or entry.seq is None:
        return None
    return entry.node, entry.topic, entry.stream, entry.seq


def _doubtful(entries: Sequence[Entry], records: dict[StreamKey, StreamRecord]) -> list[MessageKey]:
    """Return the keys that may be stored already; the journal is asked for these only."""
    doubtful: dict[MessageKey, None] = {}
    for entry in entries:
        key = _key(entry)
        if key is None:
            continue
        record = records.get((key[0], key[2])) if entry.topic is Up.HEARTBEAT else None
        # A heartbeat of an unknown stream is looked up too: a backup may hold rows of a stream but be asked by an empty table.
        if record is None or not record.is_surely_new(key[3]):
            doubtful[key] = None
    return list(doubtful)


def _account(entry: Entry, records: dict[StreamKey, StreamRecord], appended: Appended, *, is_new: bool) -> None:
    if entry.stream is None or entry.seq is None:
        return
    key = (entry.node, entry.stream)
    record = records.get(key) or StreamRecord(entry.stream)
    after = advance(record, seq=entry.seq, floor=entry.floor or 1, is_new=is_new)
    if after.gaps and after.gaps[-1:] != record.gaps[-1:] and after.through > record.through:
        appended.gapped.add(key)
    records[key] = after


def _says_the_same(topic: Up, one: bytes, other: bytes) -> bool:
    """Whether two messages differ in nothing but their writing and the session in which they were sent."""
    first: Heartbeat | Event
    second: Heartbeat | Event
    try:
        if topic is Up.EVENT:
            first, second = decode(Event, one), decode(Event, other)
        else:
            first, second = decode(Heartbeat, one), decode(Heartbeat, other)
    except BadMessage:
        return False
    names = [name for name in first.__struct_fields__ if name not in ("session", "floor")]
    return all(getattr(first, name) == getattr(second, name) for name in names)

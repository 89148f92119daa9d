"""Tables of the data path: the journal, its streams, the cursors of its readers, and bad messages.

Ids are kept small, because they repeat in each row and index: a node as 16 bytes, a stream as a signed 64-bit number.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
    text,
    tuple_,
)

from firmware_agent.contract.ids import BootId, NodeId, StreamId
from firmware_agent.contract.topics import Up
from fleet_server.ingest.compression import Compressor, Decompressor
from fleet_server.ingest.model import Entry, Lane, Row, StreamKey, StreamRecord
from fleet_server.storage.database import RowNumber, metadata

TOPIC_NUMBER: Final = MappingProxyType({Up.STATUS: 0, Up.HEARTBEAT: 1, Up.EVENT: 3, Up.REPORTED: 4, Up.RESULT: 5})
"""Written on disk: never renumber. 2 was never used (a replay is stored as heartbeats)."""
_TOPIC: Final = MappingProxyType({number: topic for topic, number in TOPIC_NUMBER.items()})

Node16 = LargeBinary(16)

journal = Table(
    "journal",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("node_id", Node16, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("topic", SmallInteger, nullable=False),
    Column("stream", BigInteger),
    Column("seq", BigInteger),
    Column("at_ms", BigInteger),
    Column("boot", String(64)),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("node_id", "topic", "stream", "seq", name="uq_journal_message"),
    Index("ix_journal_node_id_at_ms", "node_id", "at_ms"),
    sqlite_autoincrement=True,
)

stream = Table(
    "stream",
    metadata,
    Column("node_id", Node16, primary_key=True),
    Column("stream", BigInteger, primary_key=True, autoincrement=False),
    Column("through", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("gaps", Text, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("evicted", BigInteger, nullable=False),
    Column("top", BigInteger, nullable=False),
    Column("is_coarse", Boolean, nullable=False),
)

boot = Table(
    "boot",
    metadata,
    Column("node_id", Node16, primary_key=True),
    Column("boot", String(64), primary_key=True),
    Column("offset_ms", BigInteger, nullable=False),
)

journal_cursor = Table(
    "journal_cursor",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("id", BigInteger, nullable=False),
)

bad_message = Table(
    "bad_message",
    metadata,
    Column("node_id", String(36), primary_key=True),
    Column("reason", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_at_ms", BigInteger, nullable=False),
    Column("last_at_ms", BigInteger, nullable=False),
    Column("topic", String(128), nullable=False),
    Column("detail", String(256), nullable=False),
    Column("sample", LargeBinary, nullable=False),
)

_ROWS_AT_ONCE: Final = 256

MessageKey = tuple[NodeId, Up, StreamId, int]
T = TypeVar("T")


def node_bytes(node: NodeId) -> bytes:
    """Return a node id as it is stored."""
    return bytes.fromhex(node.replace("-", ""))


def node_text(raw: bytes) -> NodeId:
    """Return a stored node id as it is written."""
    digits = raw.hex()
    return NodeId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


def stream_number(name: StreamId) -> int:
    """Return a stream id as it is stored."""
    number = int(name, 16)
    return number - (1 << 64) if number >> 63 else number


def stream_text(number: int) -> StreamId:
    """Return a stored stream id as it is written."""
    return StreamId(f"{number & 0xFFFF_FFFF_FFFF_FFFF:016x}")


class _Insert:
    """An INSERT … ON CONFLICT given to the driver as it is: SQLAlchemy's way costs more than the insert itself."""

    def __init__(self, table: Table, ending: str) -> None:
        self.names = [column.name for column in table.columns if not (column.autoincrement is True and column.primary_key)]
        self._start = f"INSERT INTO {table.name} ({', '.join(self.names)}) VALUES "  # noqa: S608  # our own names
        self._ending = f" ON CONFLICT {ending}"

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, whose values are in the order of `names`."""
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"{self._start}{_marks('%s', self.names)}{self._ending}", list(rows))
            return
        for some in _at_once(rows):
            marks = ", ".join([_marks("?", self.names)] * len(some))
            connection.exec_driver_sql(f"{self._start}{marks}{self._ending}", tuple(chain.from_iterable(some)))


def _marks(mark: str, values: Sequence[Any]) -> str:
    return f"({', '.join(mark for _ in values)})"


def _at_once(rows: Sequence[T]) -> list[Sequence[T]]:
    """Cut rows into those of one statement.

    SQLite's driver lets go of the interpreter for each statement, and on a busy server waits long for it to come back: with a statement
    for each row that was some hundred times in a commit.
    """
    return [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]


def _updating(table: Table) -> str:
    keys = [column.name for column in table.primary_key]
    sets = ", ".join(f"{column.name} = excluded.{column.name}" for column in table.columns if column.name not in keys)
    return f"({', '.join(keys)}) DO UPDATE SET {sets}"


_ADD_ROW: Final = _Insert(journal, "DO NOTHING")
_ADD_BOOT: Final = _Insert(boot, "DO NOTHING")
_SAVE_STREAM: Final = _Insert(stream, _updating(stream))
_SET_CURSOR: Final = _Insert(journal_cursor, _updating(journal_cursor))
_ADD_BAD: Final = _Insert(
    bad_message,
    "(node_id, reason) DO UPDATE SET count = bad_message.count + excluded.count, "
    "last_at_ms = excluded.last_at_ms, topic = excluded.topic, detail = excluded.detail, sample = excluded.sample",
)
_NEWEST_ID: Final = "SELECT coalesce(max(id), 0) FROM journal"
_FIND_SOME: Final = "WITH wanted(n, s) AS (VALUES {}) SELECT stream.* FROM wanted JOIN stream ON node_id = n AND stream = s"
_FIND_STREAMS: Final = text("SELECT stream.* FROM stream JOIN unnest(:nodes, :streams) AS wanted(node_id, stream) USING (node_id, stream)")


def add_rows(connection: Connection, entries: Sequence[Entry]) -> None:
    """Store messages in order; those whose `(node, topic, stream, seq)` is there already are left alone."""
    if not entries:
        return
    compress = Compressor().compress
    rows = [
        (
            entry.received_at_ms,
            node_bytes(entry.node),
            int(entry.lane),
            TOPIC_NUMBER[entry.topic],
            None if entry.stream is None else stream_number(entry.stream),
            entry.seq,
            entry.at_ms,
            entry.boot,
            compress(entry.payload),
        )
        for entry in entries
    ]
    _ADD_ROW.run(connection, rows)


def payloads(connection: Connection, keys: Sequence[MessageKey]) -> dict[MessageKey, bytes]:
    """Return the stored messages among `keys`."""
    found: dict[MessageKey, bytes] = {}
    decompress = Decompressor().decompress
    columns = (journal.c.node_id, journal.c.topic, journal.c.stream, journal.c.seq)
    for start in range(0, len(keys), 200):
        wanted = [(node_bytes(node), TOPIC_NUMBER[topic], stream_number(name), seq) for node, topic, name, seq in keys[start : start + 200]]
        for row in connection.execute(select(*columns, journal.c.payload).where(tuple_(*columns).in_(wanted))):
            found[node_text(row.node_id), _TOPIC[row.topic], stream_text(row.stream), row.seq] = decompress(row.payload)
    return found


def rows_after(connection: Connection, number: int, *, limit: int, topics: Iterable[Up] | None = None) -> list[Row]:
    """Return messages with ids above `number`, ascending."""
    query = select(journal).where(journal.c.id > number).order_by(journal.c.id).limit(limit)
    if topics is not None:
        query = query.where(journal.c.topic.in_([TOPIC_NUMBER[topic] for topic in topics]))
    return _rows(connection, query)


def rows_of_node(connection: Connection, node: NodeId, *, from_ms: int, to_ms: int, topics: Iterable[Up]) -> list[Row]:
    """Return a node's messages dated in `[from_ms, to_ms)` and its undated ones received since `from_ms`, ascending by id."""
    wanted = (journal.c.node_id == node_bytes(node)) & journal.c.topic.in_([TOPIC_NUMBER[topic] for topic in topics])
    inside = select(journal).where(wanted, journal.c.at_ms >= from_ms, journal.c.at_ms < to_ms)
    undated = select(journal).where(wanted, journal.c.at_ms.is_(None), journal.c.received_at_ms >= from_ms)
    return sorted(_rows(connection, inside) + _rows(connection, undated), key=lambda row: row.id)


def newest_id(connection: Connection) -> int:
    """Return the highest id, 0 when there is none."""
    return int(connection.exec_driver_sql(_NEWEST_ID).scalar_one())  # asked with each commit and each look: SQLAlchemy's way takes 0.2 ms


def _rows(connection: Connection, query: Any) -> list[Row]:
    decompress = Decompressor().decompress
    return [
        Row(
            id=row.id,
            received_at_ms=row.received_at_ms,
            node=node_text(row.node_id),
            lane=Lane(row.lane),
            topic=_TOPIC[row.topic],
            stream=None if row.stream is None else stream_text(row.stream),
            seq=row.seq,
            at_ms=row.at_ms,
            boot=None if row.boot is None else BootId(row.boot),
            payload=decompress(row.payload),
        )
        for row in connection.execute(query)
    ]


def streams(connection: Connection, keys: Sequence[StreamKey]) -> dict[StreamKey, StreamRecord]:
    """Return the records of those streams that are known."""
    if not keys:
        return {}
    wanted = {(node_bytes(node), stream_number(name)): (node, name) for node, name in keys}
    found: Iterable[Sequence[Any]]
    if connection.dialect.name == "postgresql":
        found = connection.execute(_FIND_STREAMS, {"nodes": [node for node, _ in wanted], "streams": [number for _, number in wanted]})
    else:
        found = [row for some in _at_once(list(wanted)) for row in _some_streams(connection, some)]
    return {wanted[row[0], row[1]]: _record(*row) for row in found}


def _some_streams(connection: Connection, keys: Sequence[tuple[bytes, int]]) -> Sequence[Sequence[Any]]:
    marks = ", ".join(["(?, ?)"] * len(keys))
    return connection.exec_driver_sql(_FIND_SOME.format(marks), tuple(chain.from_iterable(keys))).all()


def streams_of(connection: Connection, node: NodeId) -> list[StreamRecord]:
    """Return all streams of a node."""
    query = select(stream).where(stream.c.node_id == node_bytes(node)).order_by(stream.c.stream)
    return [_record(*row) for row in connection.execute(query)]


def save_streams(connection: Connection, records: Mapping[StreamKey, StreamRecord]) -> None:
    """Write records, new and old."""
    if not records:
        return
    rows = [
        (
            node_bytes(node),
            stream_number(name),
            record.through,
            record.floor,
            json.dumps(record.gaps, separators=(",", ":")) if record.gaps else "[]",
            record.stored,
            record.evicted,
            record.top,
            record.is_coarse,
        )
        for (node, name), record in records.items()
    ]
    _SAVE_STREAM.run(connection, rows)


def _record(
    _node: bytes, number: int, through: int, floor: int, gaps: str, stored: int, evicted: int, top: int, is_coarse: bool
) -> StreamRecord:
    """Return what a row of `stream` holds, whose columns are given in their order."""
    spans = tuple((first, last) for first, last in json.loads(gaps)) if gaps != "[]" else ()
    return StreamRecord(stream_text(number), through, floor, spans, stored, evicted, top, bool(is_coarse))


def add_boots(connection: Connection, offsets: Mapping[tuple[NodeId, BootId], int]) -> None:
    """Keep the first known offset of each boot."""
    if offsets:
        _ADD_BOOT.run(connection, [(node_bytes(node), name, offset) for (node, name), offset in offsets.items()])


def boot_offset(connection: Connection, node: NodeId, name: BootId) -> int | None:
    """Return wall clock minus monotonic clock of a boot, None while it is not known."""
    return connection.execute(select(boot.c.offset_ms).where(boot.c.node_id == node_bytes(node), boot.c.boot == name)).scalar()


def cursor(connection: Connection, name: str) -> int:
    """Return how far a reader has come, 0 for a new one."""
    return connection.execute(select(journal_cursor.c.id).where(journal_cursor.c.name == name)).scalar() or 0


def set_cursor(connection: Connection, name: str, number: int) -> None:
    """Say how far a reader has come."""
    _SET_CURSOR.run(connection, [(name, number)])


def add_bad_messages(connection: Connection, counts: Sequence[Mapping[str, Any]]) -> None:
    """Add to the counts by node and reason, and take the newest sample."""
    _ADD_BAD.run(connection, [tuple(count[name] for name in _ADD_BAD.names) for count in counts])


def bad_messages(connection: Connection) -> list[Any]:
    """Return all counts, the newest first."""
    return list(
        connection.execute(select(bad_message).order_by(bad_message.c.last_at_ms.desc(), bad_message.c.node_id, bad_message.c.reason))
    )

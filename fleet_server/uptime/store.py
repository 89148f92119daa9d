"""Tables of the ledger: hours, what must be folded again, and what they were folded from."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    String,
    Table,
    Text,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
)

from firmware_agent.contract.ids import BootId, NodeId
from fleet_server.storage.database import dialect_insert, metadata
from fleet_server.uptime.model import PART_NAMES, Parts

_CHUNK: Final = 400

ledger = Table(
    "ledger",
    metadata,
    Column("position_id", String(36), primary_key=True),
    Column("function", String(16), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("unit_path", String(200), nullable=False),
    *(Column(name, Integer, nullable=False) for name in PART_NAMES),
    Column("commissioned_ms", Integer, nullable=False),
    Index("ix_ledger_unit_path_hour_ms", "unit_path", "hour_ms"),
)

ledger_dirty = Table(
    "ledger_dirty",
    metadata,
    Column("subject", String(48), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("mark", BigInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("limit_at_ms", BigInteger, nullable=False),
    Index("ix_ledger_dirty_due_at_ms", "due_at_ms"),
)
"""Hours to fold (again), by `node:{id}` or `position:{id}`. `mark` counts up each time it is asked for again, which also puts
`due_at_ms` off, up to `limit_at_ms`: while a node replays an hour, that hour is not folded for each message."""

ledger_undated = Table(
    "ledger_undated",
    metadata,
    Column("node_id", String(36), primary_key=True),
    Column("boot", String(64), primary_key=True),
    Column("received_from_ms", BigInteger, nullable=False),
    Column("received_to_ms", BigInteger, nullable=False),
    Column("mono_from_ms", BigInteger, nullable=False),
    Column("mono_to_ms", BigInteger, nullable=False),
)
"""Boots whose heartbeats came before any trusted clock: their hours move once the boot's offset is known."""

ledger_input = Table("ledger_input", metadata, Column("position_id", String(36), primary_key=True), Column("inputs", Text, nullable=False))
"""What of the registry a position's hours were folded from."""

ledger_state = Table("ledger_state", metadata, Column("name", String(16), primary_key=True), Column("value_ms", BigInteger, nullable=False))
"""`started`: the first hour of the ledger; `closed`: the end of the last closed hour."""


class LedgerRow(NamedTuple):
    """One hour of one function of a position, or of all of them together (`WHOLE`)."""

    position_id: str
    function: str
    hour_ms: int
    unit_path: str
    parts: Parts


class Dirty(NamedTuple):
    """An hour to fold."""

    subject: str
    hour_ms: int
    mark: int


@dataclass(frozen=True, slots=True)
class Undated:
    """The span of heartbeats of one boot that no clock dates yet."""

    received_from_ms: int
    received_to_ms: int
    mono_from_ms: int
    mono_to_ms: int

    def widened(self, received_at_ms: int, mono_ms: int) -> "Undated":
        """Return the span with one more heartbeat."""
        return Undated(
            min(self.received_from_ms, received_at_ms),
            max(self.received_to_ms, received_at_ms),
            min(self.mono_from_ms, mono_ms),
            max(self.mono_to_ms, mono_ms),
        )


BootKey = tuple[NodeId, BootId]


# ---- the ledger ---------------------------------------------------------------------------------------------------------


def replace_hours(connection: Connection, positions: Iterable[str], hour_range: range, rows: Sequence[LedgerRow]) -> set[tuple[str, int]]:
    """Write the hours of positions anew; hours without a row vanish. Return those that are new or differ from before: position, start."""
    if not hour_range:
        return set()
    between = ledger.c.hour_ms.between(hour_range[0], hour_range[-1])
    before: set[LedgerRow] = set()
    for chunk in _chunks(sorted(positions)):
        statement = delete(ledger).where(ledger.c.position_id.in_(chunk), between).returning(ledger)
        before.update(_row(row) for row in connection.execute(statement))
    if rows:
        connection.execute(insert(ledger), [_values(row) for row in rows])
    return {(row.position_id, row.hour_ms) for row in before.symmetric_difference(rows)}


def forget_positions(connection: Connection, positions: Iterable[str]) -> None:
    """Remove everything of positions that are no longer in the registry."""
    for chunk in _chunks(sorted(positions)):
        connection.execute(delete(ledger).where(ledger.c.position_id.in_(chunk)))
        connection.execute(delete(ledger_input).where(ledger_input.c.position_id.in_(chunk)))


def sums(connection: Connection, positions: Sequence[str], *, from_ms: int, to_ms: int) -> dict[tuple[str, str], Parts]:
    """Return the sums of the hours that start in `[from_ms, to_ms)`, by position and function."""
    columns = [func.sum(ledger.c[name]).label(name) for name in PART_NAMES]
    found: dict[tuple[str, str], Parts] = {}
    for chunk in _chunks(positions):
        query = (
            select(ledger.c.position_id, ledger.c.function, *columns)
            .where(ledger.c.position_id.in_(chunk), ledger.c.hour_ms >= from_ms, ledger.c.hour_ms < to_ms)
            .group_by(ledger.c.position_id, ledger.c.function)
        )
        for row in connection.execute(query):
            found[row.position_id, row.function] = Parts(*(int(getattr(row, name)) for name in PART_NAMES))
    return found


def hours_of(connection: Connection, position_id: str, *, from_ms: int, to_ms: int) -> list[LedgerRow]:
    """Return a position's hours that start in `[from_ms, to_ms)`, by function and hour."""
    query = (
        select(ledger)
        .where(ledger.c.position_id == position_id, ledger.c.hour_ms >= from_ms, ledger.c.hour_ms < to_ms)
        .order_by(ledger.c.function, ledger.c.hour_ms)
    )
    return [_row(row) for row in connection.execute(query)]


def rows_after(connection: Connection, last: LedgerRow | None, *, limit: int = 5_000) -> list[LedgerRow]:
    """Return rows after `last` (None: from the first) in the ledger's fixed order: position, function, hour, compared byte by byte."""
    key = (ledger.c.position_id, ledger.c.function, ledger.c.hour_ms)
    query = select(ledger).order_by(*key).limit(limit)
    if last is not None:
        place: tuple[Any, ...] = (last.position_id, last.function, last.hour_ms)
        query = query.where(tuple_(*key) > tuple_(*place))
    return [_row(row) for row in connection.execute(query)]


def clear(connection: Connection) -> None:
    """Drop all that is derived from the journal."""
    for table in (ledger, ledger_dirty, ledger_input):
        connection.execute(delete(table))


def _values(row: LedgerRow) -> dict[str, Any]:
    parts = {name: getattr(row.parts, name) for name in PART_NAMES}
    return {
        "position_id": row.position_id,
        "function": row.function,
        "hour_ms": row.hour_ms,
        "unit_path": row.unit_path,
        "commissioned_ms": row.parts.commissioned_ms,
        **parts,
    }


def _row(row: Any) -> LedgerRow:
    return LedgerRow(row.position_id, row.function, row.hour_ms, row.unit_path, Parts(*(getattr(row, name) for name in PART_NAMES)))


# ---- what must be folded ------------------------------------------------------------------------------------------------


def mark(connection: Connection, wanted: Iterable[tuple[str, int]], *, due_at_ms: int = 0, limit_at_ms: int = 0) -> None:
    """Ask for hours to be folded, at once unless `due_at_ms` says otherwise; asking again while it is being done asks for another time."""
    values = [
        {"subject": subject, "hour_ms": hour_ms, "mark": 1, "due_at_ms": due_at_ms, "limit_at_ms": limit_at_ms}
        for subject, hour_ms in dict.fromkeys(wanted)
    ]
    if not values:
        return
    statement, old = dialect_insert(connection, ledger_dirty), ledger_dirty.c
    due = case((statement.excluded.due_at_ms < old.limit_at_ms, statement.excluded.due_at_ms), else_=old.limit_at_ms)
    upsert = statement.on_conflict_do_update(
        index_elements=list(ledger_dirty.primary_key.columns), set_={"mark": old.mark + 1, "due_at_ms": due}
    )
    connection.execute(upsert, values)


def dirty(connection: Connection, *, limit: int, now_ms: int | None = None) -> list[Dirty]:
    """Return hours to fold, those that are due or all without `now_ms`; newest first, so that repairing the past holds up no new hour."""
    query = select(ledger_dirty).order_by(ledger_dirty.c.hour_ms.desc(), ledger_dirty.c.subject).limit(limit)
    if now_ms is not None:
        query = query.where(ledger_dirty.c.due_at_ms <= now_ms)
    return [Dirty(row.subject, row.hour_ms, row.mark) for row in connection.execute(query)]


def dirty_count(connection: Connection, *, from_ms: int, now_ms: int | None = None) -> int:
    """Return how many hours that start at `from_ms` or later wait: of those that are due, or of all without `now_ms`."""
    query = select(func.count()).select_from(ledger_dirty).where(ledger_dirty.c.hour_ms >= from_ms)
    if now_ms is not None:
        query = query.where(ledger_dirty.c.due_at_ms <= now_ms)
    return int(connection.execute(query).scalar_one())


def stand(connection: Connection, marks: Sequence[Dirty]) -> bool:
    """Whether all these marks are still there, and nobody set one again."""
    queries = (select(func.count()).select_from(ledger_dirty).where(among) for among in _among(marks))
    return sum(connection.execute(query).scalar_one() for query in queries) == len(marks)


def done(connection: Connection, marks: Sequence[Dirty]) -> None:
    """Remove marks."""
    for among in _among(marks):
        connection.execute(delete(ledger_dirty).where(among))


def _among(marks: Sequence[Dirty]) -> Iterator[ColumnElement[bool]]:
    c = ledger_dirty.c
    return (tuple_(c.subject, c.hour_ms, c.mark).in_([tuple(entry) for entry in chunk]) for chunk in _chunks(marks, 200))


# ---- boots without a clock ----------------------------------------------------------------------------------------------


def unsettled(connection: Connection) -> dict[BootKey, Undated]:
    """Return boots whose offset is not known yet."""
    return {
        (NodeId(r.node_id), BootId(r.boot)): Undated(r.received_from_ms, r.received_to_ms, r.mono_from_ms, r.mono_to_ms)
        for r in connection.execute(select(ledger_undated))
    }


def save_undated(connection: Connection, boots: Mapping[BootKey, Undated]) -> None:
    """Write the spans of boots without an offset."""
    if not boots:
        return
    names = ("received_from_ms", "received_to_ms", "mono_from_ms", "mono_to_ms")
    statement = dialect_insert(connection, ledger_undated)
    upsert = statement.on_conflict_do_update(
        index_elements=list(ledger_undated.primary_key.columns), set_={name: statement.excluded[name] for name in names}
    )
    values = [{"node_id": node, "boot": boot} | {name: getattr(span, name) for name in names} for (node, boot), span in boots.items()]
    connection.execute(upsert, values)


def settle_boots(connection: Connection, boots: Iterable[BootKey]) -> None:
    """Forget boots whose offsets are known now."""
    for node, boot in boots:
        mine = (ledger_undated.c.node_id == node) & (ledger_undated.c.boot == boot)
        connection.execute(delete(ledger_undated).where(mine))


# ---- inputs and state ---------------------------------------------------------------------------------------------------


def inputs(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return what of the registry each position was folded from."""
    return {row.position_id: json.loads(row.inputs) for row in connection.execute(select(ledger_input))}


def save_inputs(connection: Connection, changed: Mapping[str, Mapping[str, Any]]) -> None:
    """Write inputs, new and changed."""
    if changed:
        values = [{"position_id": name, "inputs": json.dumps(data, sort_keys=True)} for name, data in changed.items()]
        statement = dialect_insert(connection, ledger_input)
        keys = list(ledger_input.primary_key.columns)
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={"inputs": statement.excluded.inputs}), values)


def state(connection: Connection) -> tuple[int, int] | None:
    """Return the first hour of the ledger and the end of the last closed one, None before anything came."""
    values = {row.name: row.value_ms for row in connection.execute(select(ledger_state))}
    return (values["started"], values["closed"]) if values else None


def set_state(connection: Connection, *, started_ms: int, closed_ms: int) -> None:
    """Write both."""
    statement = dialect_insert(connection, ledger_state)
    keys = list(ledger_state.primary_key.columns)
    upsert = statement.on_conflict_do_update(index_elements=keys, set_={"value_ms": statement.excluded.value_ms})
    connection.execute(upsert, [{"name": "started", "value_ms": started_ms}, {"name": "closed", "value_ms": closed_ms}])


def _chunks(items: Sequence[Any], size: int = _CHUNK) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

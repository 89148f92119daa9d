"""Tables of this room: lines that no store will ever take, with the reason."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, delete, func, insert, select, tuple_

from fleet_server.storage.database import RowNumber, dialect_insert, metadata

_KEPT: Final = 1000

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("bucket", String(32), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("line", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

late_hour = Table(
    "telemetry_late_hour",
    metadata,
    Column("position_id", String(36), primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("marked_at_ms", BigInteger, nullable=False),
)
"""Hours of the ledger that are new or have changed: still to be written."""


def bury(connection: Connection, *, at_ms: int, bucket: str, letters: Sequence[tuple[bytes, str]]) -> None:
    """Keep lines with their reasons; only the newest thousand stay, the counter counts all."""
    if not letters:
        return
    connection.execute(
        insert(dead_letter),
        [{"at_ms": at_ms, "bucket": bucket, "reason": reason.replace("\0", "")[:500], "line": line} for line, reason in letters],
    )
    newest = connection.execute(select(func.max(dead_letter.c.id))).scalar_one()
    connection.execute(delete(dead_letter).where(dead_letter.c.id <= newest - _KEPT))


def buried(connection: Connection) -> int:
    """Return how many lines were ever given up."""
    return int(connection.execute(select(func.coalesce(func.max(dead_letter.c.id), 0))).scalar_one())


def letters(connection: Connection, *, limit: int = 100) -> list[tuple[int, str, str, bytes]]:
    """Return the newest `(at_ms, bucket, reason, line)`."""
    query = select(dead_letter).order_by(dead_letter.c.id.desc()).limit(limit)
    return [(row.at_ms, row.bucket, row.reason, row.line) for row in connection.execute(query)]


def mark_late(connection: Connection, hours: Iterable[tuple[str, int]], *, at_ms: int) -> None:
    """Remember hours to be written, as `(position_id, hour_ms)`."""
    rows = [{"position_id": position_id, "hour_ms": hour_ms, "marked_at_ms": at_ms} for position_id, hour_ms in hours]
    if rows:
        keys = list(late_hour.primary_key.columns)
        connection.execute(
            dialect_insert(connection, late_hour).on_conflict_do_update(index_elements=keys, set_={"marked_at_ms": at_ms}), rows
        )


def late_before(connection: Connection, at_ms: int, *, to_ms: int, limit: int = 500) -> list[tuple[str, int]]:
    """Return hours that start before `to_ms` and were marked before an instant and not again since, the newest first."""
    marked = (late_hour.c.marked_at_ms < at_ms) & (late_hour.c.hour_ms < to_ms)
    query = select(late_hour).where(marked).order_by(late_hour.c.hour_ms.desc()).limit(limit)
    return [(row.position_id, row.hour_ms) for row in connection.execute(query)]


def forget_late(connection: Connection, hours: Sequence[tuple[str, int]], *, before_ms: int) -> None:
    """Forget marks, but for those that were made again since."""
    key = tuple_(late_hour.c.position_id, late_hour.c.hour_ms)
    for start in range(0, len(hours), 200):
        connection.execute(delete(late_hour).where(key.in_(hours[start : start + 200]), late_hour.c.marked_at_ms < before_ms))


def forget_span(connection: Connection, *, from_ms: int, to_ms: int, before_ms: int) -> None:
    """Forget all marks of the hours that start in `[from_ms, to_ms)`, but for those that were made since."""
    hours = late_hour.c.hour_ms.between(from_ms, to_ms - 1)
    connection.execute(delete(late_hour).where(hours, late_hour.c.marked_at_ms < before_ms))

"""Tables of this room: lines that no store will ever take, with the reason."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, delete, func, insert, select

from fleet_server.storage.database import RowNumber, metadata

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
)
"""Hours of the ledger that late evidence touched after they were written: to be written again."""


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

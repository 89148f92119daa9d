"""Exemptions as they are stored."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Select, String, Table, func, insert, select, update

from fleet_server.exemptions.model import Exemption, ExemptionKind, Version
from fleet_server.storage.database import RowNumber, metadata

_CHUNK: Final = 400

exemption = Table(
    "exemption",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("position_id", String(36), nullable=False, index=True),
    Column("unit_path", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("reason", String(500), nullable=False),
    Column("document", String(200), nullable=False),
    Column("author", String(100), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("withdrawn_at_ms", BigInteger),
    Column("withdrawn_by", String(100)),
    sqlite_autoincrement=True,
)
"""Append-only: an exemption is withdrawn, never deleted; where its end moves, another takes its place."""


def add(connection: Connection, new: Exemption) -> int:
    """Store an exemption (its `id` is ignored); return its id."""
    values = {
        "position_id": new.position_id,
        "unit_path": new.unit_path,
        "kind": new.kind.value,
        "from_ms": new.from_ms,
        "to_ms": new.to_ms,
        "reason": new.reason,
        "document": new.document,
        "author": new.author,
        "created_at_ms": new.created_at_ms,
    }
    return int(connection.execute(insert(exemption).values(values).returning(exemption.c.id)).scalar_one())


def withdraw(connection: Connection, number: int, *, by: str, at_ms: int) -> bool:
    """Let an exemption count no longer; return whether it did until now."""
    mine = (exemption.c.id == number) & exemption.c.withdrawn_at_ms.is_(None)
    return connection.execute(update(exemption).where(mine).values(withdrawn_at_ms=at_ms, withdrawn_by=by)).rowcount > 0


def find(connection: Connection, number: int) -> Exemption | None:
    """Return one in force."""
    return next(_read(connection, _in_force().where(exemption.c.id == number)), None)


def of_position(connection: Connection, position_id: str) -> list[Exemption]:
    """Return those of a position in force, newest first."""
    query = _in_force().where(exemption.c.position_id == position_id)
    return list(_read(connection, query.order_by(exemption.c.from_ms.desc(), exemption.c.id.desc())))


def between(connection: Connection, *, from_ms: int, to_ms: int, positions: Sequence[str] | None = None) -> Iterator[Exemption]:
    """Yield those in force that touch a window, of some positions or of all."""
    query = _in_force().where(exemption.c.from_ms < to_ms, exemption.c.to_ms > from_ms)
    if positions is None:
        yield from _read(connection, query)
        return
    for start in range(0, len(positions), _CHUNK):
        yield from _read(connection, query.where(exemption.c.position_id.in_(positions[start : start + _CHUNK])))


def version(connection: Connection) -> Version:
    """Return what changes with each exemption that is made or withdrawn."""
    return Version(*connection.execute(select(func.count(exemption.c.id), func.count(exemption.c.withdrawn_at_ms))).one())


def _in_force() -> Select[Any]:
    return select(exemption).where(exemption.c.withdrawn_at_ms.is_(None))


def _read(connection: Connection, query: Select[Any]) -> Iterator[Exemption]:
    return (
        Exemption(
            id=row.id,
            position_id=row.position_id,
            unit_path=row.unit_path,
            kind=ExemptionKind(row.kind),
            from_ms=row.from_ms,
            to_ms=row.to_ms,
            reason=row.reason,
            document=row.document,
            author=row.author,
            created_at_ms=row.created_at_ms,
        )
        for row in connection.execute(query)
    )

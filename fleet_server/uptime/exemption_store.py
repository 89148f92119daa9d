"""Exemptions as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, String, Table, insert, select, update

from fleet_server.presence.model import Overlay, State
from fleet_server.storage.database import RowNumber, metadata
from fleet_server.uptime.model import ExemptionKind

_CHUNK = 400

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
"""Append-only: an exemption is withdrawn, never deleted."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """A span in which a position is excepted, with its reason and author."""

    id: int
    position_id: str
    unit_path: str
    """Where the position was then."""
    kind: ExemptionKind
    from_ms: int
    to_ms: int
    reason: str
    document: str
    author: str
    created_at_ms: int


def add_exemption(connection: Connection, new: Exemption) -> int:
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


def withdraw_exemption(connection: Connection, number: int, *, by: str, at_ms: int) -> None:
    """Let an exemption count no longer."""
    connection.execute(update(exemption).where(exemption.c.id == number).values(withdrawn_at_ms=at_ms, withdrawn_by=by))


def exemptions(connection: Connection, *, position_id: str | None = None) -> list[Exemption]:
    """Return exemptions in force, of one position or of all, newest first."""
    query = select(exemption).where(exemption.c.withdrawn_at_ms.is_(None)).order_by(exemption.c.from_ms.desc(), exemption.c.id.desc())
    if position_id is not None:
        query = query.where(exemption.c.position_id == position_id)
    return [_exemption(row) for row in connection.execute(query)]


def overlays(connection: Connection, positions: Sequence[str], *, from_ms: int, to_ms: int) -> dict[str, list[Overlay]]:
    """Return the exemptions in force that touch a window, by position."""
    found: dict[str, list[Overlay]] = {}
    for start in range(0, len(positions), _CHUNK):
        query = select(exemption).where(
            exemption.c.withdrawn_at_ms.is_(None),
            exemption.c.position_id.in_(positions[start : start + _CHUNK]),
            exemption.c.from_ms < to_ms,
            exemption.c.to_ms > from_ms,
        )
        for row in connection.execute(query):
            found.setdefault(row.position_id, []).append(Overlay(row.from_ms, row.to_ms, State(row.kind)))
    return found


def _exemption(row: Any) -> Exemption:
    return Exemption(
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

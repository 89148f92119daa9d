"""The audit trail: one append-only table of what people and tokens did."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Index, String, Table, Text, event, insert, select

from fleet_server.access.model import Scope
from fleet_server.storage.database import RowNumber, metadata

audit = Table(
    "audit",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("data", Text, nullable=False),
    Index("ix_audit_unit_path_id", "unit_path", "id"),
    sqlite_autoincrement=True,
)

SQLITE_GUARDS: Final = tuple(
    f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"
    for verb in ("UPDATE", "DELETE")
)
POSTGRESQL_GUARDS: Final = (
    "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
    "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
)
"""Statements that make the database itself refuse changes; the migration runs them too."""


def _guard(_table: Table, connection: Connection, **_: Any) -> None:
    for statement in SQLITE_GUARDS if connection.dialect.name == "sqlite" else POSTGRESQL_GUARDS:
        connection.exec_driver_sql(statement)


event.listen(audit, "after_create", _guard)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act."""

    id: int
    at_ms: int
    actor: str
    action: str
    """Such as `account.create`."""
    subject: str
    unit_path: str
    data: dict[str, Any]


def append(
    connection: Connection,
    *,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    unit_path: str,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one act down in the transaction that does it, so that both happen or neither."""
    connection.execute(
        insert(audit).values(
            at_ms=at_ms,
            actor=actor[:128],
            action=action,
            subject=subject[:128],
            unit_path=unit_path,
            data=json.dumps(dict(data or {}), ensure_ascii=False, separators=(",", ":")),
        )
    )


def entries(connection: Connection, *, scope: Scope, before_id: int | None = None, limit: int = 100) -> list[AuditEntry]:
    """Return acts inside `scope`, newest first; `before_id` goes on after a page."""
    query = select(audit).where(audit.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    return [AuditEntry(r.id, r.at_ms, r.actor, r.action, r.subject, r.unit_path, json.loads(r.data)) for r in connection.execute(query)]

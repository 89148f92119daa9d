"""The table of presses."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Integer, String, Table, insert, select, update

from firmware_agent.contract.ids import Channel, EventId, NodeId
from fleet_server.access.model import Scope
from fleet_server.alarms.model import Press, PressState
from fleet_server.storage.database import RowNumber, metadata

press = Table(
    "press",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("event_id", String(72), nullable=False, unique=True),
    Column("node_id", String(36), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("position_id", String(36)),
    Column("position_code", String(64)),
    Column("unit_path", String(200), nullable=False),
    Column("occurred_at_ms", BigInteger, nullable=False),
    Column("is_dated", Boolean, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("is_drill", Boolean, nullable=False),
    Column("is_late", Boolean, nullable=False),
    Column("is_boot_asserted", Boolean, nullable=False),
    Column("is_simulated", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("acknowledged_by", String(128)),
    Column("acknowledged_at_ms", BigInteger),
    Column("closed_by", String(128)),
    Column("closed_at_ms", BigInteger),
    Index("ix_press_unit_path_number", "unit_path", "number"),
    Index("ix_press_state_number", "state", "number"),
    sqlite_autoincrement=True,
)


def add(connection: Connection, value: Press) -> Press:
    """Write a new press; return it with its number."""
    columns = {column.name: getattr(value, column.name) for column in press.columns if column.name not in ("number", "node_id", "state")}
    query = insert(press).values(node_id=value.node, state=value.state.value, **columns).returning(press)
    return _press(connection.execute(query).one())


def by_event(connection: Connection, event_id: str) -> Press | None:
    """Return the press of an event."""
    row = connection.execute(select(press).where(press.c.event_id == event_id)).first()
    return None if row is None else _press(row)


def change(connection: Connection, before: Press, values: dict[str, Any]) -> Press | None:
    """Write `values` and the next version if nobody changed it meanwhile; return it as it is now, None if somebody did."""
    query = (
        update(press)
        .where(press.c.number == before.number, press.c.version == before.version)
        .values(version=before.version + 1, **values)
        .returning(press)
    )
    row = connection.execute(query).first()
    return None if row is None else _press(row)


def recent(
    connection: Connection,
    scope: Scope,
    *,
    state: PressState | None = None,
    is_drill: bool | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Press]:
    """Return presses, the last raised first; `before` is the number after which the page begins."""
    query = select(press).where(press.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(press.c.number.desc()).limit(limit)
    if state is not None:
        query = query.where(press.c.state == state.value)
    if is_drill is not None:
        query = query.where(press.c.is_drill.is_(is_drill))
    if before is not None:
        query = query.where(press.c.number < before)
    return [_press(row) for row in connection.execute(query)]


def _press(row: Any) -> Press:
    return Press(
        number=row.number,
        event_id=EventId(row.event_id),
        node=NodeId(row.node_id),
        channel=Channel(row.channel),
        position_id=row.position_id,
        position_code=row.position_code,
        unit_path=row.unit_path,
        occurred_at_ms=row.occurred_at_ms,
        is_dated=row.is_dated,
        received_at_ms=row.received_at_ms,
        is_drill=row.is_drill,
        is_late=row.is_late,
        is_boot_asserted=row.is_boot_asserted,
        is_simulated=row.is_simulated,
        state=PressState(row.state),
        version=row.version,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at_ms=row.acknowledged_at_ms,
        closed_by=row.closed_by,
        closed_at_ms=row.closed_at_ms,
    )

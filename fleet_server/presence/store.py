"""Tables of live state: one row for each position and node, as last told, and a sign of life of who writes them."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, String, Table, Text, bindparam, delete, select, update

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.presence.layers import NodeStatus, PositionStatus
from fleet_server.presence.model import FunctionState, State
from fleet_server.storage.database import dialect_insert, metadata

position_status = Table(
    "position_status",
    metadata,
    Column("position_id", String(36), primary_key=True),
    Column("code", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("zone_code", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cause", String(500), nullable=False),
    Column("since_ms", BigInteger),
    Column("observed_at_ms", BigInteger),
    Column("functions", Text, nullable=False),
    Column("node_id", String(36)),
    Column("channel", String(32)),
    Column("is_simulated", Boolean, nullable=False),
    Index("ix_position_status_unit_path_code", "unit_path", "code"),
)

node_status = Table(
    "node_status",
    metadata,
    Column("node_id", String(36), primary_key=True),
    Column("serial", String(64), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("is_online", Boolean, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("since_ms", BigInteger),
    Column("session", String(64), nullable=False),
    Column("last_heartbeat_at_ms", BigInteger),
    Column("agent", String(64), nullable=False),
    Column("is_simulated", Boolean, nullable=False),
    Index("ix_node_status_unit_path_serial", "unit_path", "serial"),
)

presence_beat = Table(
    "presence_beat",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)
"""When live state was last brought up to date; older than a few seconds, nobody watches."""

_BEAT = "presence"


def save_positions(connection: Connection, statuses: Sequence[PositionStatus]) -> None:
    """Write positions, new and old."""
    if statuses:
        connection.execute(_upsert(connection, position_status), [_position_values(status) for status in statuses])


def save_nodes(connection: Connection, statuses: Sequence[NodeStatus]) -> None:
    """Write nodes, new and old."""
    if statuses:
        connection.execute(_upsert(connection, node_status), [_node_values(status) for status in statuses])


def forget(connection: Connection, *, positions: Sequence[str], nodes: Sequence[NodeId]) -> None:
    """Remove what is no longer in the directory."""
    if positions:
        connection.execute(delete(position_status).where(position_status.c.position_id.in_(positions)))
    if nodes:
        connection.execute(delete(node_status).where(node_status.c.node_id.in_(nodes)))


def touch(connection: Connection, *, positions: Iterable[tuple[str, int]], nodes: Iterable[tuple[NodeId, int]]) -> None:
    """Refresh when positions were last observed and nodes last heard, without telling anybody."""
    for table, key, seen, rows in (
        (position_status, "position_id", "observed_at_ms", list(positions)),
        (node_status, "node_id", "last_heartbeat_at_ms", list(nodes)),
    ):
        if rows:
            statement = update(table).where(table.c[key] == bindparam("row_id")).values({seen: bindparam("row_seen")})
            connection.execute(statement, [{"row_id": name, "row_seen": at_ms} for name, at_ms in rows])


def beat(connection: Connection, at_ms: int) -> None:
    """Say that live state is up to date as of `at_ms`."""
    connection.execute(_upsert(connection, presence_beat), {"name": _BEAT, "at_ms": at_ms})


def last_beat(connection: Connection) -> int | None:
    """Return when live state was last up to date, None if never."""
    return connection.execute(select(presence_beat.c.at_ms).where(presence_beat.c.name == _BEAT)).scalar()


def positions(connection: Connection, *, unit_path: str) -> dict[str, PositionStatus]:
    """Return stored positions of the units below `unit_path`, by id."""
    query = select(position_status).where(position_status.c.unit_path.startswith(unit_path, autoescape=True))
    return {row.position_id: _position(row) for row in connection.execute(query)}


def positions_of(connection: Connection, ids: Sequence[str]) -> dict[str, PositionStatus]:
    """Return stored positions among at most some hundred ids."""
    query = select(position_status).where(position_status.c.position_id.in_(ids))
    return {row.position_id: _position(row) for row in connection.execute(query)}


def node(connection: Connection, node_id: NodeId) -> NodeStatus | None:
    """Return one stored node."""
    row = connection.execute(select(node_status).where(node_status.c.node_id == node_id)).one_or_none()
    return None if row is None else _node(row)


def nodes(connection: Connection, *, unit_path: str) -> dict[NodeId, NodeStatus]:
    """Return stored nodes of the units below `unit_path`, by id."""
    query = select(node_status).where(node_status.c.unit_path.startswith(unit_path, autoescape=True))
    return {NodeId(row.node_id): _node(row) for row in connection.execute(query)}


def _upsert(connection: Connection, table: Table) -> Any:
    statement = dialect_insert(connection, table)
    changed = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)


def _position_values(status: PositionStatus) -> dict[str, Any]:
    functions = [[f.function, f.state, f.cause, f.since_ms, f.observed_at_ms] for f in status.functions]
    return {
        "position_id": status.position_id,
        "code": status.code,
        "kind": status.kind.value,
        "unit_path": status.unit_path,
        "zone_code": status.zone_code,
        "state": status.state.value,
        "cause": status.cause,
        "since_ms": status.since_ms,
        "observed_at_ms": status.observed_at_ms,
        "functions": json.dumps(functions, separators=(",", ":")),
        "node_id": status.node,
        "channel": status.channel,
        "is_simulated": status.is_simulated,
    }


def _node_values(status: NodeStatus) -> dict[str, Any]:
    return {
        "node_id": status.node,
        "serial": status.serial,
        "unit_path": status.unit_path,
        "is_online": status.is_online,
        "cause": status.cause,
        "since_ms": status.since_ms,
        "session": status.session,
        "last_heartbeat_at_ms": status.last_heartbeat_at_ms,
        "agent": status.agent,
        "is_simulated": status.is_simulated,
    }


def _position(row: Any) -> PositionStatus:
    return PositionStatus(
        position_id=row.position_id,
        code=row.code,
        kind=Kind(row.kind),
        unit_path=row.unit_path,
        zone_code=row.zone_code,
        state=State(row.state),
        cause=row.cause,
        since_ms=row.since_ms,
        observed_at_ms=row.observed_at_ms,
        functions=_functions(row.functions),
        node=None if row.node_id is None else NodeId(row.node_id),
        channel=None if row.channel is None else Channel(row.channel),
        is_simulated=bool(row.is_simulated),
        is_commissioned=False,  # the directory knows
    )


@lru_cache(maxsize=65_536)
def _functions(text: str) -> tuple[FunctionState, ...]:
    """Read the functions of a position, which stay the same while nothing changes and are read over and over."""
    return tuple(FunctionState(Function(name), State(state), cause, since, seen) for name, state, cause, since, seen in json.loads(text))


def _node(row: Any) -> NodeStatus:
    return NodeStatus(
        node=NodeId(row.node_id),
        serial=row.serial,
        unit_path=row.unit_path,
        is_online=bool(row.is_online),
        cause=row.cause,
        since_ms=row.since_ms,
        session=row.session,
        last_heartbeat_at_ms=row.last_heartbeat_at_ms,
        agent=row.agent,
        is_simulated=bool(row.is_simulated),
    )

"""The table of commands."""

import json
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, String, Table, Text, insert, select, update

from firmware_agent.contract.ids import Channel, CommandId, NodeId
from firmware_agent.contract.vocabulary import Action
from fleet_server.access.model import Scope
from fleet_server.commands.model import GRACE_MS, CommandState, IssuedCommand
from fleet_server.storage.database import RowNumber, metadata

command = Table(
    "command",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("node_id", String(36), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("position_id", String(36), nullable=False),
    Column("position_code", String(64), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("action", String(32), nullable=False),
    Column("args", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("issued_by", String(128), nullable=False),
    Column("issued_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("sent_at_ms", BigInteger),
    Column("finished_at_ms", BigInteger),
    Column("is_presumed", Boolean, nullable=False),
    Column("message", String(256), nullable=False),
    Column("measured", Text, nullable=False),
    Index("ix_command_unit_path_number", "unit_path", "number"),
    Index("ix_command_state_expires_at_ms", "state", "expires_at_ms"),
    sqlite_autoincrement=True,
)


def add(connection: Connection, value: IssuedCommand) -> IssuedCommand:
    """Write a new command; return it with its number."""
    query = insert(command).values(
        id=value.id,
        node_id=value.node,
        channel=value.channel,
        position_id=value.position_id,
        position_code=value.position_code,
        unit_path=value.unit_path,
        action=value.action.value,
        args=json.dumps(dict(value.args), separators=(",", ":")),
        state=value.state.value,
        issued_by=value.issued_by,
        issued_at_ms=value.issued_at_ms,
        expires_at_ms=value.expires_at_ms,
        is_presumed=False,
        message="",
        measured="{}",
    )
    return _command(connection.execute(query.returning(command)).one())


def by_id(connection: Connection, number: str) -> IssuedCommand | None:
    """Return a command."""
    row = connection.execute(select(command).where(command.c.id == number)).first()
    return None if row is None else _command(row)


def recent(
    connection: Connection, scope: Scope, *, position_code: str | None = None, before: int | None = None, limit: int = 100
) -> list[IssuedCommand]:
    """Return commands, the last issued first."""
    query = select(command).where(command.c.unit_path.startswith(scope.unit_path, autoescape=True))
    if position_code is not None:
        query = query.where(command.c.position_code == position_code)
    if before is not None:
        query = query.where(command.c.number < before)
    return [_command(row) for row in connection.execute(query.order_by(command.c.number.desc()).limit(limit))]


def unsent(connection: Connection, now_ms: int, limit: int) -> list[IssuedCommand]:
    """Return commands that the broker has not got yet and that may still be begun, in the order of issue."""
    query = (
        select(command)
        .where(command.c.state == CommandState.ISSUED.value, command.c.expires_at_ms > now_ms)
        .order_by(command.c.number)
        .limit(limit)
    )
    return [_command(row) for row in connection.execute(query)]


def mark_sent(connection: Connection, number: CommandId, at_ms: int) -> IssuedCommand | None:
    """Say that the broker has it; None when its end is known already."""
    query = (
        update(command)
        .where(command.c.id == number, command.c.state == CommandState.ISSUED.value)
        .values(state=CommandState.SENT.value, sent_at_ms=at_ms)
        .returning(command)
    )
    row = connection.execute(query).first()
    return None if row is None else _command(row)


def send_again(connection: Connection, node: NodeId, now_ms: int) -> int:
    """Let what a node has not answered, and may still begin, be sent once more; return how many."""
    pending = (command.c.node_id == node) & (command.c.state == CommandState.SENT.value) & (command.c.expires_at_ms > now_ms)
    return connection.execute(update(command).where(pending).values(state=CommandState.ISSUED.value)).rowcount


def overdue(connection: Connection, now_ms: int, limit: int) -> list[IssuedCommand]:
    """Return commands without result whose time has passed."""
    pending = [state.value for state in CommandState if state.is_pending]
    query = (
        select(command)
        .where(command.c.state.in_(pending), command.c.expires_at_ms <= now_ms - GRACE_MS)
        .order_by(command.c.number)
        .limit(limit)
    )
    return [_command(row) for row in connection.execute(query)]


def finish(connection: Connection, before: IssuedCommand, after: IssuedCommand) -> bool:
    """Write how a command ended, if nobody else did meanwhile."""
    query = (
        update(command)
        .where(command.c.id == before.id, command.c.state == before.state.value)
        .values(
            state=after.state.value,
            finished_at_ms=after.finished_at_ms,
            is_presumed=after.is_presumed,
            message=after.message,
            measured=json.dumps(dict(after.measured), separators=(",", ":")),
        )
    )
    return connection.execute(query).rowcount > 0


def _command(row: Any) -> IssuedCommand:
    return IssuedCommand(
        number=row.number,
        id=CommandId(row.id),
        node=NodeId(row.node_id),
        channel=Channel(row.channel),
        position_id=row.position_id,
        position_code=row.position_code,
        unit_path=row.unit_path,
        action=Action(row.action),
        args=json.loads(row.args),
        state=CommandState(row.state),
        issued_by=row.issued_by,
        issued_at_ms=row.issued_at_ms,
        expires_at_ms=row.expires_at_ms,
        sent_at_ms=row.sent_at_ms,
        finished_at_ms=row.finished_at_ms,
        is_presumed=row.is_presumed,
        message=row.message,
        measured=json.loads(row.measured),
    )

"""Issuing commands, carrying them to nodes, and learning how they ended."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from firmware_agent.contract.ids import CommandId
from firmware_agent.contract.vocabulary import Action
from fleet_server.access import audit
from fleet_server.access.model import Permission, Principal, Scope
from fleet_server.clock import Clock
from fleet_server.commands import store
from fleet_server.commands.model import (
    DEFAULT_EXPIRY_S,
    MAX_EXPIRY_S,
    MIN_EXPIRY_S,
    RECEIVERS,
    CommandState,
    IssuedCommand,
    check_args,
    news_of,
)
from fleet_server.errors import Conflict, Forbidden, NotFound, Rejected
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage import Database, changes


class Commands:
    """Issues commands and tells of them. Any process may; `Courier` carries them, in the process that talks to the broker."""

    def __init__(self, database: Database, directory: Callable[[], Directory], clock: Clock) -> None:
        """`directory` returns the registry's snapshot of now."""
        self._database = database
        self._directory = directory
        self._clock = clock

    def issue(
        self,
        position_code: str,
        action: Action,
        args: Mapping[str, Any] | None = None,
        *,
        principal: Principal,
        expires_in_s: float = DEFAULT_EXPIRY_S,
    ) -> IssuedCommand:
        """Write a command down; it is on its way when this returns, and ends by itself when `expires_in_s` have passed.

        Raises:
            NotFound: there is no such position in the principal's scope.
            Rejected: the position's kind does not know the action, or an argument is wrong.
            Conflict: nothing is installed at the position, or it is retired.
            Forbidden: the role may not.
        """
        if not principal.may(Permission.COMMAND_DEVICE):
            raise Forbidden(f"The role {principal.role} may not command devices.")
        if not MIN_EXPIRY_S <= expires_in_s <= MAX_EXPIRY_S:
            raise Rejected(f"A command expires in {MIN_EXPIRY_S} to {MAX_EXPIRY_S} s.")
        directory, now_ms = self._directory(), self._clock.now_ms()
        position = _receiver(directory, position_code, action, principal.scope)
        place = directory.channel_of(position.id, now_ms)
        if place is None:
            raise Conflict(f"Nothing is installed at {position.code}.")
        command = IssuedCommand(
            number=0,
            id=CommandId(str(uuid.uuid4())),
            node=place[0],
            channel=place[1],
            position_id=position.id,
            position_code=position.code,
            unit_path=position.unit_path,
            action=action,
            args=check_args(action, args or {}),
            state=CommandState.ISSUED,
            issued_by=principal.actor,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + int(expires_in_s * 1000),
        )
        with self._database.write() as connection:
            command = store.add(connection, command)
            _write_down(connection, command)
            tell(connection, command, now_ms)
        return command

    def command(self, number: str, scope: Scope) -> IssuedCommand:
        """Return one command.

        Raises:
            NotFound: there is none of this id in the scope.
        """
        found = None
        if number.isprintable():
            with self._database.read() as connection:
                found = store.by_id(connection, number)
        if found is None or not scope.contains(found.unit_path):
            raise NotFound("There is no such command.")
        return found

    def recent(self, scope: Scope, *, position_code: str | None = None, before: int | None = None, limit: int = 100) -> list[IssuedCommand]:
        """Return commands, the last issued first; `before` is the number after which a page begins."""
        if position_code is not None and not position_code.isprintable():
            return []
        with self._database.read() as connection:
            return store.recent(connection, scope, position_code=position_code, before=before, limit=limit)


def tell(connection: Connection, command: IssuedCommand, at_ms: int) -> None:
    """Add a command as it is now to the change log."""
    changes.append(connection, at_ms=at_ms, unit_path=command.unit_path, kind="command", subject=command.id, data=news_of(command))


def _receiver(directory: Directory, code: str, action: Action, scope: Scope) -> PositionRef:
    position = directory.position_of_code(code)
    if position is None or not scope.contains(position.unit_path):
        raise NotFound(f"There is no position {code[:64]!r}.")
    if position.kind is not RECEIVERS[action]:
        raise Rejected(f"{code} is a {position.kind}: {action} is for a {RECEIVERS[action]}.")
    if position.retired_at_ms is not None:
        raise Conflict(f"Position {code} is retired.")
    return position


def _write_down(connection: Connection, command: IssuedCommand) -> None:
    audit.append(
        connection,
        at_ms=command.issued_at_ms,
        actor=command.issued_by,
        action=f"command.{command.action}",
        subject=command.position_code,
        unit_path=command.unit_path,
        data={"command": command.id, "args": dict(command.args)},
    )

"""Presses, derived from the journal: whatever was stored there is raised here, once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from firmware_agent.contract.ids import parse_event_id
from firmware_agent.contract.messages import BadMessage, Event, decode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import EventType
from fleet_server.access import audit
from fleet_server.access.model import Permission, Principal, Scope
from fleet_server.alarms import store
from fleet_server.alarms.model import NEXT, TOLD, Press, PressState, came_late, moment_of, news_of
from fleet_server.clock import Clock
from fleet_server.errors import Conflict, Forbidden, NotFound
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane, Row
from fleet_server.ingest.reader import JournalReader
from fleet_server.presence.dating import read_clock
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage import Database, changes
from fleet_server.storage.database import serialise

_log = logging.getLogger(__name__)

CURSOR: Final = "alarms"
_LOCK: Final = 7_304


class Alarms:
    """Raises and answers presses. One process runs `run()` (more are harmless); any process may ask."""

    def __init__(self, database: Database, journal: Journal, directory: Callable[[], Directory], clock: Clock) -> None:
        """`directory` returns the registry's snapshot of now."""
        self._database = database
        self._journal = journal
        self._directory = directory
        self._clock = clock
        self._reader = JournalReader(journal, CURSOR, (Up.EVENT,), self._take)

    async def run(self) -> None:
        """Follow the journal until cancelled. While the database is away nothing is lost: it goes on where it was."""
        await self._reader.run()

    def advance(self, newest: int) -> int:
        """Take one batch of events up to message `newest`; see `JournalReader.advance`."""
        return self._reader.advance(newest)

    def _take(self, rows: Sequence[Row], seen: int) -> None:
        directory = self._directory()
        events = [(row, event, self._offset(row, event)) for row in rows if (event := _event(row)) is not None]
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            # Another process may have come further meanwhile: what it did is not done twice.
            done = self._journal.cursor(CURSOR)
            for row, event, offset_ms in events:
                if row.id <= done:
                    continue
                if event.type is EventType.PRESS:
                    self._raise(connection, directory, row, event, offset_ms)
                elif event.type in TOLD:
                    self._tell(connection, directory, row, event, offset_ms)
            self._journal.set_cursor(connection, CURSOR, max(seen, done))

    def _offset(self, row: Row, event: Event) -> int | None:
        is_believed = read_clock(event.clock, row.received_at_ms).is_believed
        return None if is_believed else self._journal.boot_offset(row.node, event.clock.boot)

    def _raise(self, connection: Connection, directory: Directory, row: Row, event: Event, offset_ms: int | None) -> None:
        if store.by_event(connection, event.event_id) is not None:
            return
        moment = moment_of(event, received_at_ms=row.received_at_ms, boot_offset_ms=offset_ms)
        position = _position(directory, row, event, moment.at_ms)
        node = directory.nodes.get(row.node)
        press = store.add(
            connection,
            Press(
                number=0,
                event_id=event.event_id,
                node=row.node,
                channel=event.channel,
                position_id=None if position is None else position.id,
                position_code=None if position is None else position.code,
                unit_path=_unit_path(directory, row, position),
                occurred_at_ms=moment.at_ms,
                is_dated=moment.is_dated,
                received_at_ms=row.received_at_ms,
                is_drill=event.is_drill,
                is_late=came_late(moment, received_at_ms=row.received_at_ms, is_replay=row.lane is Lane.REPLAY),
                is_boot_asserted=event.is_boot_asserted,
                is_simulated=node is not None and node.is_simulated,
            ),
        )
        self._announce(connection, press)

    def _tell(self, connection: Connection, directory: Directory, row: Row, event: Event, offset_ms: int | None) -> None:
        moment = moment_of(event, received_at_ms=row.received_at_ms, boot_offset_ms=offset_ms)
        position = _position(directory, row, event, moment.at_ms)
        changes.append(
            connection,
            at_ms=self._clock.now_ms(),
            unit_path=_unit_path(directory, row, position),
            kind="event",
            subject=event.event_id,
            data={
                "type": event.type.value,
                "node": row.node,
                "channel": event.channel,
                "position": None if position is None else position.code,
                "cause": event.cause,
                "occurred_at_ms": moment.at_ms,
            },
        )

    def _announce(self, connection: Connection, press: Press) -> None:
        changes.append(
            connection,
            at_ms=self._clock.now_ms(),
            unit_path=press.unit_path,
            kind="press",
            subject=press.event_id,
            data=news_of(press),
        )

    # ---- asking and answering ---------------------------------------------------------------------------------------

    def open(self, scope: Scope, *, limit: int = 500) -> list[Press]:
        """Return presses that nobody has taken yet, drills too, the last raised first."""
        return self.recent(scope, state=PressState.OPEN, limit=limit)

    def recent(
        self,
        scope: Scope,
        *,
        state: PressState | None = None,
        is_drill: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Press]:
        """Return presses, the last raised first; `before` is the number after which a page begins."""
        with self._database.read() as connection:
            found = store.recent(connection, scope, state=state, is_drill=is_drill, before=before, limit=limit)
        directory = self._directory()
        return [_placed(press, directory) for press in found]

    def last(self, scope: Scope) -> Press | None:
        """Return the press raised last, drill or not."""
        return next(iter(self.recent(scope, limit=1)), None)

    def press(self, event_id: str, scope: Scope) -> Press:
        """Return one press.

        Raises:
            NotFound: there is none of this event in the scope.
        """
        with self._database.read() as connection:
            return _placed(_find(connection, event_id, scope), self._directory())

    def acknowledge(self, event_id: str, principal: Principal, *, expected_version: int | None = None) -> Press:
        """Take a press: the first to do so has it. Harmless when the same principal does it again.

        Raises:
            NotFound: there is no such press in the principal's scope.
            Conflict: somebody else has it, or it is not at `expected_version` any more.
            Forbidden: the role may not.
        """
        return self._answer(event_id, principal, PressState.ACKNOWLEDGED, expected_version)

    def close(self, event_id: str, principal: Principal, *, expected_version: int | None = None) -> Press:
        """Say that an acknowledged press is dealt with.

        Raises:
            NotFound: there is no such press in the principal's scope.
            Conflict: it is not acknowledged yet, is closed, or is not at `expected_version` any more.
            Forbidden: the role may not.
        """
        return self._answer(event_id, principal, PressState.CLOSED, expected_version)

    def _answer(self, event_id: str, principal: Principal, state: PressState, expected_version: int | None) -> Press:
        if not principal.may(Permission.ACKNOWLEDGE_PRESS):
            raise Forbidden(f"The role {principal.role} may not answer presses.")
        now_ms = self._clock.now_ms()
        verb = "acknowledge" if state is PressState.ACKNOWLEDGED else "close"
        with self._database.write() as connection:
            before = _find(connection, event_id, principal.scope)
            if before.state is state and _answered_by(before, state) == principal.actor:
                return _placed(before, self._directory())
            if state not in NEXT[before.state]:
                raise Conflict(_objection(before))
            if expected_version is not None and before.version != expected_version:
                raise Conflict("The press was changed meanwhile. Look again.")
            values = {"state": state.value, f"{state.value}_by": principal.actor, f"{state.value}_at_ms": now_ms}
            press = store.change(connection, before, values)
            if press is None:
                raise Conflict(_objection(_find(connection, event_id, principal.scope)))
            audit.append(
                connection,
                at_ms=now_ms,
                actor=principal.actor,
                action=f"press.{verb}",
                subject=press.event_id,
                unit_path=press.unit_path,
                data={"position": press.position_code, "is_drill": press.is_drill},
            )
            self._announce(connection, press)
        return _placed(press, self._directory())


def _event(row: Row) -> Event | None:
    try:
        return decode(Event, row.payload)
    except BadMessage:
        _log.exception("Message %d of the journal is no event", row.id)
        return None


def _position(directory: Directory, row: Row, event: Event, at_ms: int) -> PositionRef | None:
    """By installation history; what was pressed while the installation was under way belongs to it too."""
    return directory.position_at(row.node, event.channel, at_ms) or directory.position_at(row.node, event.channel, row.received_at_ms)


def _unit_path(directory: Directory, row: Row, position: PositionRef | None) -> str:
    if position is not None:
        return position.unit_path
    node = directory.nodes.get(row.node)
    return "/" if node is None else node.unit_path


def _find(connection: Connection, event_id: str, scope: Scope) -> Press:
    try:
        parse_event_id(event_id)
    except ValueError:
        raise NotFound("There is no such press.") from None
    press = store.by_event(connection, event_id)
    if press is None or not scope.contains(press.unit_path):
        raise NotFound("There is no such press.")
    return press


def _placed(press: Press, directory: Directory) -> Press:
    position = None if press.position_id is None else directory.positions.get(press.position_id)
    return press if position is None else replace(press, position=position)


def _answered_by(press: Press, state: PressState) -> str | None:
    return press.acknowledged_by if state is PressState.ACKNOWLEDGED else press.closed_by


def _objection(press: Press) -> str:
    match press.state:
        case PressState.OPEN:
            return "Nobody has acknowledged this press yet."
        case PressState.ACKNOWLEDGED:
            return f"This press was already acknowledged by {press.acknowledged_by}."
        case PressState.CLOSED:
            return f"This press was already closed by {press.closed_by}."

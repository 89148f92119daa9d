"""Carries commands to the broker and results back, until each has an end."""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from firmware_agent.contract.messages import BadMessage, Result, Status, decode, encode
from firmware_agent.contract.topics import Down, Up
from firmware_agent.contract.vocabulary import Online
from fleet_server.clock import Clock
from fleet_server.commands import store
from fleet_server.commands.model import CommandState, IssuedCommand, concluded, message_of
from fleet_server.commands.service import tell
from fleet_server.errors import Transient
from fleet_server.ingest.acks import Downlink
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane, Row
from fleet_server.ingest.reader import JournalReader
from fleet_server.storage import Database
from fleet_server.storage.database import serialise

_log = logging.getLogger(__name__)

CURSOR: Final = "commands"
TOPICS: Final = (Up.RESULT, Up.STATUS)
_BATCH: Final = 500
_LOCK: Final = 7_305
_LOOK_EVERY_S: Final = 0.5
"""How late a command issued in another process may be noticed; one of this process is noticed at once."""


class Courier:
    """Runs in the one process that talks to the broker."""

    def __init__(self, database: Database, journal: Journal, downlink: Downlink, clock: Clock) -> None:
        """`downlink` is the way to the nodes; `journal` brings their results."""
        self._database = database
        self._journal = journal
        self._downlink = downlink
        self._clock = clock
        self._reader = JournalReader(journal, CURSOR, TOPICS, self._take)
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Carry until cancelled. While database or broker are away nothing is lost: it goes on where it was."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # that loop was closed meanwhile
                loop.call_soon_threadsafe(self._changed.set)

        self._database.on_change(wake)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry(), name="commands:carry")
            tasks.create_task(self._reader.run(), name="commands:follow")

    async def _carry(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self.deliver()
                await self._database.run(self.expire)
            except Transient as error:
                _log.warning("commands wait: %s", error)
                await asyncio.sleep(random.uniform(0.2, 1.0))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._changed.wait()

    async def deliver(self) -> int:
        """Hand to the broker what it has not got yet; return how many.

        Raises:
            Transient: broker or database do not answer; what was not handed over stays for the next time.
        """
        waiting = await self._database.run(self._unsent)
        for command in waiting:
            await self._downlink.publish(command.node, Down.COMMAND, encode(message_of(command)), retain=False)
            await self._database.run(self._mark_sent, command)
        return len(waiting)

    def expire(self) -> int:
        """Give up commands whose time has passed without a result; return how many.

        Raises:
            StorageUnavailable: nothing was changed.
        """
        now_ms = self._clock.now_ms()
        with self._database.read() as connection:
            overdue = store.overdue(connection, now_ms, _BATCH)
        if not overdue:
            return 0
        with self._database.write() as connection:
            for command in overdue:
                ended = replace(
                    command, state=CommandState.EXPIRED, finished_at_ms=now_ms, is_presumed=True, message="The node did not answer in time."
                )
                self._finish(connection, command, ended)
        return len(overdue)

    def advance(self, newest: int) -> int:
        """Take one batch of results and births up to message `newest`; see `JournalReader.advance`."""
        return self._reader.advance(newest)

    def _take(self, rows: Sequence[Row], seen: int) -> None:
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            for row in rows:
                if row.topic is Up.RESULT:
                    self._conclude(connection, row)
                elif _is_birth(row):
                    store.send_again(connection, row.node, self._clock.now_ms())
            self._journal.set_cursor(connection, CURSOR, seen)

    def _conclude(self, connection: Connection, row: Row) -> None:
        result = _result(row)
        command = None if result is None else store.by_id(connection, result.command_id)
        if result is None or command is None or command.node != row.node:
            _log.warning("Message %d answers no command of node %s", row.id, row.node)
            return
        state = concluded(command.state, result.status, is_presumed=command.is_presumed)
        if state is None:
            return
        ended = replace(
            command,
            state=state,
            finished_at_ms=row.received_at_ms,
            is_presumed=False,
            message=result.message,
            measured=result.measured,
        )
        self._finish(connection, command, ended)

    def _finish(self, connection: Connection, before: IssuedCommand, after: IssuedCommand) -> None:
        if store.finish(connection, before, after):
            tell(connection, after, self._clock.now_ms())

    def _unsent(self) -> list[IssuedCommand]:
        with self._database.read() as connection:
            return store.unsent(connection, self._clock.now_ms(), _BATCH)

    def _mark_sent(self, command: IssuedCommand) -> None:
        now_ms = self._clock.now_ms()
        with self._database.write() as connection:
            sent = store.mark_sent(connection, command.id, now_ms)
            if sent is not None:
                tell(connection, sent, now_ms)


def _is_birth(row: Row) -> bool:
    """Whether a node has just come online; a retained birth tells what was."""
    if row.topic is not Up.STATUS or row.lane is not Lane.LIVE:
        return False
    try:
        return decode(Status, row.payload).status is Online.ONLINE
    except BadMessage:
        return False


def _result(row: Row) -> Result | None:
    try:
        return decode(Result, row.payload)
    except BadMessage:
        return None

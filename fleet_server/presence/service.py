"""Presence: keeps live state up to date from the journal, tells of each change, and answers what is now."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.messages import BadMessage, Reported, Status, decode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import Kind
from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import NotFound, Transient
from fleet_server.exemptions.service import Exemptions
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane, Row
from fleet_server.presence import store
from fleet_server.presence.layers import LayerStatus, NodeStatus, PositionStatus, layers
from fleet_server.presence.live import Live
from fleet_server.presence.present import Moment, is_retired, never_seen
from fleet_server.presence.telling import Telling
from fleet_server.presence.watch import blind_since_ms
from fleet_server.presence.wiring import Wiring
from fleet_server.registry.model import Directory
from fleet_server.storage import Database

_log = logging.getLogger(__name__)

TOPICS: Final = (Up.STATUS, Up.HEARTBEAT, Up.REPORTED)
BATCH: Final = 2_000
_MAX_LOOK_BACK_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Position:
    """A position now, layer by layer."""

    status: PositionStatus
    layers: tuple[LayerStatus, ...]


class Presence:
    """Live state of all positions and nodes.

    One process runs `run()`; any process may ask. What is asked is read from the database, where each change was written
    in one transaction with its entry in the change log (kinds `position` and `node`).
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        directory: Callable[[], Directory],
        exemptions: Exemptions,
        clock: Clock,
        *,
        node_supervision_ms: int = 60_000,
        mark_simulated: Callable[[NodeId], object] = lambda _: None,
        is_listening: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wire it up.

        Args:
            database: Holds the tables of this room.
            journal: What nodes said.
            directory: Returns the registry's snapshot of now.
            exemptions: What is under maintenance or excused.
            clock: Time.
            node_supervision_ms: A node without a sign of life for so long is offline.
            mark_simulated: Called for a node that says that it, or a device of it, is simulated.
            is_listening: Whether messages can reach the server at all; while not, the server is blind and nobody is to blame.
        """
        self._database = database
        self._journal = journal
        self._directory = directory
        self._exemptions = exemptions
        self._clock = clock
        self._mark_simulated = mark_simulated
        self._is_listening = is_listening
        self._live = Live(node_supervision_ms=node_supervision_ms)
        self._telling = Telling(database, self._live, exemptions.calendar, clock)
        self._cursor: int | None = None

    # ---- keeping up -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the journal until cancelled. While the database is away nothing is lost: it goes on where it was."""
        while True:
            try:
                is_caught_up = await self._database.run(self.advance)
                if is_caught_up:
                    await self._wait()
            except Transient as error:
                _log.warning("live state waits: %s", error)
                await asyncio.sleep(random.uniform(0.5, 2.0))

    async def _wait(self) -> None:
        """Wait for the next message, the next end of evidence, the next turn of an exemption, or one second."""
        now_ms = self._clock.now_ms()
        turns = (self._live.next_end_ms(), self._telling.next_turn_ms(), now_ms + 1_000)
        wait_s = max(20, min(at_ms for at_ms in turns if at_ms is not None) - now_ms) / 1_000
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._journal.wait_beyond(self._cursor or 0)

    def advance(self) -> bool:
        """Take what the journal has, up to one batch, and write what changed; return whether it was all.

        Raises:
            StorageUnavailable: nothing is lost; call again.
        """
        if self._cursor is None:
            self._cursor = self._start()
        self._wire()
        if not self._is_listening():
            self._live.watch_from(self._clock.now_ms())
        newest = self._journal.newest_id()
        rows = self._journal.after(self._cursor, limit=BATCH, topics=TOPICS)
        for row in rows:
            self._take(row)
        is_all = len(rows) < BATCH
        self._cursor = max(newest, rows[-1].id) if is_all and rows else newest if is_all else rows[-1].id
        if is_all:
            self._live.expire(self._clock.now_ms())
        self._telling.tell(is_watching=self._is_listening())
        return is_all

    def _wire(self) -> None:
        directory, now_ms = self._directory(), self._clock.now_ms()
        if not self._live.is_wired(directory.version, now_ms):
            self._live.wire(Wiring(directory), now_ms)

    def _take(self, row: Row) -> None:
        is_live = row.lane is Lane.LIVE
        if is_live:
            self._live.expire(row.received_at_ms)
        try:
            if row.topic is not Up.HEARTBEAT:
                self._take_word(row, is_live=is_live)
            elif is_live:
                self._live.heartbeat(row.node, row.heartbeat(), row.received_at_ms)
        except BadMessage:  # stored by a server that was more tolerant
            _log.warning("journal row %d holds nothing that can be read", row.id)

    def _take_word(self, row: Row, *, is_live: bool) -> None:
        """Take what a node says of itself. A retained birth says nothing of now; but who is simulated is so for ever."""
        if row.topic is Up.STATUS:
            status = decode(Status, row.payload)
            is_simulated = status.is_simulated
            if is_live:
                self._live.status(row.node, status, row.received_at_ms)
        else:
            is_simulated = any(channel.is_simulated for channel in decode(Reported, row.payload).channels)
        if is_simulated:
            self._mark_simulated(row.node)

    # ---- after a start ----------------------------------------------------------------------------------------------

    def _start(self) -> int:
        """Read again what can still hold, on top of what was shown when the server stopped; return the cursor."""
        self._wire()
        self._live.watch_from(self._clock.now_ms())
        beat_at_ms = self._telling.restore()
        now_ms = self._clock.now_ms()
        reach_ms = min(_MAX_LOOK_BACK_MS, max((p.supervision_ms for p in self._directory().positions.values()), default=0))
        since_ms = min(now_ms, beat_at_ms or now_ms) - reach_ms
        cursor = self._last_before(since_ms)
        while rows := self._journal.after(cursor, limit=BATCH, topics=TOPICS):
            for row in rows:
                self._take(row)
            cursor = rows[-1].id
        self._live.restored(min(now_ms, since_ms + reach_ms))
        self._telling.compare_all()
        return cursor

    def _last_before(self, received_at_ms: int) -> int:
        """Return the highest id of the journal received before an instant (ids ascend with receive time, nearly)."""
        low, high = 0, self._journal.newest_id()
        while low < high:
            middle = (low + high) // 2
            rows = self._journal.after(middle, limit=1)
            if rows and rows[0].received_at_ms < received_at_ms:
                low = rows[0].id
            else:
                high = middle
        return low

    # ---- answering --------------------------------------------------------------------------------------------------

    def statuses(self, *, scope: Scope) -> list[PositionStatus]:
        """Return all positions of a scope that are not retired, by code.

        While nobody watches, all are unknown but for those under maintenance or excused.
        """
        moment = self._moment()
        with self._database.read() as connection:
            stored = store.positions(connection, unit_path=scope.unit_path)
        return [moment.show(ref, stored.get(ref.id)) for ref in sorted(moment.positions(scope), key=lambda ref: ref.code)]

    def states(self, *, scope: Scope, after: str = "", limit: int = 100, kind: Kind | None = None) -> list[PositionStatus]:
        """Return at most `limit` positions of a scope with codes above `after`, by code."""
        moment = self._moment()
        wanted = (ref for ref in moment.positions(scope) if ref.code > after and (kind is None or ref.kind is kind))
        refs = nsmallest(limit, wanted, key=lambda ref: ref.code)
        with self._database.read() as connection:
            stored = store.positions_of(connection, [ref.id for ref in refs])
        return [moment.show(ref, stored.get(ref.id)) for ref in refs]

    def position(self, code: str, *, scope: Scope) -> Position:
        """Return one position with its layers, which speak of the evidence whatever is exempted.

        Raises:
            NotFound: no such position in this scope, or it is retired.
        """
        moment = self._moment()
        ref = moment.directory.position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path) or is_retired(ref, moment.now_ms):
            raise NotFound(f"There is no position {code!r}.")
        with self._database.read() as connection:
            stored = store.positions_of(connection, [ref.id]).get(ref.id)
            evidence = moment.evidence(ref, stored)
            node = None if evidence.node is None else store.node(connection, evidence.node)
        if node is None and evidence.node is not None:
            node = never_seen(moment.directory.nodes[evidence.node])
        return Position(moment.show(ref, stored), tuple(layers(evidence, node)))

    def _moment(self) -> Moment:
        return Moment(self._directory(), self._exemptions.calendar(), self._clock.now_ms(), self.blind_since_ms())

    def nodes(self, *, scope: Scope) -> list[NodeStatus]:
        """Return all nodes of a scope, by serial; one that was never seen is among them."""
        directory = self._directory()
        with self._database.read() as connection:
            stored = store.nodes(connection, unit_path=scope.unit_path)
        refs = sorted((n for n in directory.nodes.values() if scope.contains(n.unit_path)), key=lambda n: n.serial)
        return [stored.get(n.id) or never_seen(n) for n in refs]

    def blind_since_ms(self) -> int | None:
        """Return since when nobody watches, None while somebody does."""
        with self._database.read() as connection:
            return blind_since_ms(store.last_beat(connection), self._clock.now_ms())

    def blind_ms(self) -> int:
        """Return how long nobody watched since the end of the run before this one (of this process). It never falls."""
        return self._telling.watch.blind_ms(self._clock.now_ms())

    def lag(self) -> int:
        """Return how many rows of the journal live state has not seen (of this process)."""
        return max(0, self._journal.newest_id() - (self._cursor or 0))

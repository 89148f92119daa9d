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
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane, Row
from fleet_server.presence import store
from fleet_server.presence.layers import LayerStatus, NodeStatus, PositionStatus, layers
from fleet_server.presence.live import Live
from fleet_server.presence.present import is_retired, is_same, is_same_node, never_seen, node_news, position_news, present
from fleet_server.presence.wiring import Wiring
from fleet_server.registry.model import Directory
from fleet_server.storage import Database, changes

_log = logging.getLogger(__name__)

TOPICS: Final = (Up.STATUS, Up.HEARTBEAT, Up.REPORTED)
BATCH: Final = 2_000
WRITE_BATCH: Final = 1_000
BLIND_AFTER_MS: Final = 10_000
"""Live state older than this is nobody's: the server was not watching."""
_BEAT_MS: Final = 2_000
_TOUCH_NODES_MS: Final = 10_000
_TOUCH_POSITIONS_MS: Final = 60_000
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
            clock: Time.
            node_supervision_ms: A node without a sign of life for so long is offline.
            mark_simulated: Called for a node that says that it, or a device of it, is simulated.
            is_listening: Whether messages can reach the server at all; while not, the server is blind and nobody is to blame.
        """
        self._database = database
        self._journal = journal
        self._directory = directory
        self._clock = clock
        self._mark_simulated = mark_simulated
        self._is_listening = is_listening
        self._live = Live(node_supervision_ms=node_supervision_ms)
        self._cursor: int | None = None
        self._shown: dict[str, PositionStatus] = {}
        self._shown_nodes: dict[NodeId, NodeStatus] = {}
        self._beat_at_ms = self._nodes_touched_at_ms = self._positions_touched_at_ms = 0

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
        """Wait for the next message, the next end of evidence, or one second."""
        ends_at_ms = self._live.next_end_ms()
        wait_s = 1.0 if ends_at_ms is None else min(1.0, max(0.02, (ends_at_ms - self._clock.now_ms()) / 1_000))
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
        self._write()
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
        with self._database.read() as connection:
            self._shown = store.positions(connection, unit_path="/")
            self._shown_nodes = store.nodes(connection, unit_path="/")
            beat_at_ms = store.last_beat(connection)
        for node in self._shown_nodes.values():
            self._live.restore_node(node)
        for position in self._shown.values():
            self._live.restore_position(position)
        now_ms = self._clock.now_ms()
        reach_ms = min(_MAX_LOOK_BACK_MS, max((p.supervision_ms for p in self._directory().positions.values()), default=0))
        since_ms = min(now_ms, beat_at_ms or now_ms) - reach_ms
        cursor = self._last_before(since_ms)
        while rows := self._journal.after(cursor, limit=BATCH, topics=TOPICS):
            for row in rows:
                self._take(row)
            cursor = rows[-1].id
        self._live.restored(min(now_ms, since_ms + reach_ms))
        self._live.mark((*self._shown, *(p.position_id for p in self._live.positions(now_ms))), self._shown_nodes)
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

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write what changed, in transactions of a bounded size, then refresh what is only seen."""
        now_ms = self._clock.now_ms()
        positions, nodes = self._live.changed_positions(), self._live.changed_nodes()
        for start in range(0, max(len(positions), len(nodes)), WRITE_BATCH):
            self._write_some(positions[start : start + WRITE_BATCH], nodes[start : start + WRITE_BATCH], now_ms)
        self._touch(now_ms)

    def _write_some(self, position_ids: list[str], node_ids: list[NodeId], now_ms: int) -> None:
        positions = {name: self._live.position(name, now_ms) for name in position_ids}
        nodes = {name: self._live.node(name) for name in node_ids}
        told = [p for p in positions.values() if p is not None and not is_same(p, self._shown.get(p.position_id))]
        told_nodes = [n for n in nodes.values() if n is not None and not is_same_node(n, self._shown_nodes.get(n.node))]
        gone = [name for name, status in positions.items() if status is None]
        gone_nodes = [name for name, status in nodes.items() if status is None]
        if told or told_nodes or gone or gone_nodes:
            with self._database.write() as connection:
                store.save_positions(connection, told)
                store.save_nodes(connection, told_nodes)
                store.forget(connection, positions=gone, nodes=gone_nodes)
                for node in told_nodes:
                    changes.append(connection, at_ms=now_ms, unit_path=node.unit_path, kind="node", subject=node.node, data=node_news(node))
                for p in told:
                    changes.append(connection, at_ms=now_ms, unit_path=p.unit_path, kind="position", subject=p.code, data=position_news(p))
        self._shown.update((p.position_id, p) for p in told)
        self._shown_nodes.update((n.node, n) for n in told_nodes)
        for name in gone:
            self._shown.pop(name, None)
        for node_id in gone_nodes:
            self._shown_nodes.pop(node_id, None)
        self._live.settled(position_ids, node_ids)

    def _touch(self, now_ms: int) -> None:
        """Refresh the sign of life and, more rarely, when things were last seen."""
        if now_ms - self._beat_at_ms < _BEAT_MS or not self._is_listening():
            return
        nodes: list[tuple[NodeId, int]] = []
        positions: list[tuple[str, int]] = []
        if now_ms - self._nodes_touched_at_ms >= _TOUCH_NODES_MS:
            nodes = [(n.node, n.last_heartbeat_at_ms) for n in self._live.nodes() if n.last_heartbeat_at_ms is not None]
            self._nodes_touched_at_ms = now_ms
        if now_ms - self._positions_touched_at_ms >= _TOUCH_POSITIONS_MS:
            positions = [(p.position_id, p.observed_at_ms) for p in self._live.positions(now_ms) if p.observed_at_ms is not None]
            self._positions_touched_at_ms = now_ms
        with self._database.write() as connection:
            store.touch(connection, positions=positions[:WRITE_BATCH], nodes=nodes)
            store.beat(connection, now_ms)
        for start in range(WRITE_BATCH, len(positions), WRITE_BATCH):
            with self._database.write() as connection:
                store.touch(connection, positions=positions[start : start + WRITE_BATCH], nodes=())
        self._beat_at_ms = now_ms

    # ---- answering --------------------------------------------------------------------------------------------------

    def statuses(self, *, scope: Scope) -> list[PositionStatus]:
        """Return all positions of a scope that are not retired, by code. While nobody watches, all are unknown."""
        directory, now_ms = self._directory(), self._clock.now_ms()
        with self._database.read() as connection:
            stored = store.positions(connection, unit_path=scope.unit_path)
            blind_since_ms = self._blind_since_ms(store.last_beat(connection), now_ms)
        refs = (p for p in directory.positions.values() if scope.contains(p.unit_path) and not is_retired(p, now_ms))
        return [present(p, stored.get(p.id), directory, now_ms, blind_since_ms) for p in sorted(refs, key=lambda p: p.code)]

    def states(self, *, scope: Scope, after: str = "", limit: int = 100, kind: Kind | None = None) -> list[PositionStatus]:
        """Return at most `limit` positions of a scope with codes above `after`, by code."""
        directory, now_ms = self._directory(), self._clock.now_ms()
        found = (p for p in directory.positions.values() if scope.contains(p.unit_path) and not is_retired(p, now_ms))
        refs = nsmallest(limit, (p for p in found if p.code > after and (kind is None or p.kind is kind)), key=lambda p: p.code)
        with self._database.read() as connection:
            stored = store.positions_of(connection, [p.id for p in refs])
            blind_since_ms = self._blind_since_ms(store.last_beat(connection), now_ms)
        return [present(p, stored.get(p.id), directory, now_ms, blind_since_ms) for p in refs]

    def position(self, code: str, *, scope: Scope) -> Position:
        """Return one position with its layers.

        Raises:
            NotFound: no such position in this scope, or it is retired.
        """
        directory, now_ms = self._directory(), self._clock.now_ms()
        ref = directory.position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path) or is_retired(ref, now_ms):
            raise NotFound(f"There is no position {code!r}.")
        with self._database.read() as connection:
            stored = store.positions_of(connection, [ref.id]).get(ref.id)
            blind_since_ms = self._blind_since_ms(store.last_beat(connection), now_ms)
            status = present(ref, stored, directory, now_ms, blind_since_ms)
            node = None if status.node is None else store.node(connection, status.node)
        if node is None and status.node is not None:
            node = never_seen(directory.nodes[status.node])
        return Position(status, tuple(layers(status, node)))

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
            return self._blind_since_ms(store.last_beat(connection), self._clock.now_ms())

    def lag(self) -> int:
        """Return how many rows of the journal live state has not seen (of this process)."""
        return max(0, self._journal.newest_id() - (self._cursor or 0))

    def _blind_since_ms(self, beat_at_ms: int | None, now_ms: int) -> int | None:
        return beat_at_ms if beat_at_ms is not None and now_ms - beat_at_ms > BLIND_AFTER_MS else None

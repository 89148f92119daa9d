"""Presence: keeps live state up to date from the journal, tells of each change, and answers what is now."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from fleet_server.presence.evidence import read_heartbeat
from fleet_server.presence.layers import Cause, LayerStatus, NodeStatus, PositionStatus, layers
from fleet_server.presence.live import Live
from fleet_server.presence.model import FunctionState, State
from fleet_server.presence.wiring import Wiring
from fleet_server.registry.model import Directory, NodeRef, PositionRef
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
        if row.lane is not Lane.LIVE:
            return
        self._live.expire(row.received_at_ms)
        if row.topic is Up.HEARTBEAT:
            self._live.heartbeat(row.node, read_heartbeat(row.payload), row.received_at_ms)
            return
        try:
            self._take_word(row)
        except BadMessage:  # stored by a server that was more tolerant
            _log.warning("journal row %d holds nothing that can be read", row.id)

    def _take_word(self, row: Row) -> None:
        """Take what a node says of itself."""
        if row.topic is Up.STATUS:
            status = decode(Status, row.payload)
            is_simulated = status.is_simulated
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
        told = [p for p in positions.values() if p is not None and not _is_same(p, self._shown.get(p.position_id))]
        told_nodes = [n for n in nodes.values() if n is not None and not _is_same_node(n, self._shown_nodes.get(n.node))]
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
        refs = (p for p in directory.positions.values() if scope.contains(p.unit_path) and not _is_retired(p, now_ms))
        return [_present(p, stored.get(p.id), directory, now_ms, blind_since_ms) for p in sorted(refs, key=lambda p: p.code)]

    def states(self, *, scope: Scope, after: str = "", limit: int = 100, kind: Kind | None = None) -> list[PositionStatus]:
        """Return at most `limit` positions of a scope with codes above `after`, by code."""
        directory, now_ms = self._directory(), self._clock.now_ms()
        found = (p for p in directory.positions.values() if scope.contains(p.unit_path) and not _is_retired(p, now_ms))
        refs = nsmallest(limit, (p for p in found if p.code > after and (kind is None or p.kind is kind)), key=lambda p: p.code)
        with self._database.read() as connection:
            stored = store.positions_of(connection, [p.id for p in refs])
            blind_since_ms = self._blind_since_ms(store.last_beat(connection), now_ms)
        return [_present(p, stored.get(p.id), directory, now_ms, blind_since_ms) for p in refs]

    def position(self, code: str, *, scope: Scope) -> Position:
        """Return one position with its layers.

        Raises:
            NotFound: no such position in this scope, or it is retired.
        """
        directory, now_ms = self._directory(), self._clock.now_ms()
        ref = directory.position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path) or _is_retired(ref, now_ms):
            raise NotFound(f"There is no position {code!r}.")
        with self._database.read() as connection:
            stored = store.positions_of(connection, [ref.id]).get(ref.id)
            blind_since_ms = self._blind_since_ms(store.last_beat(connection), now_ms)
            status = _present(ref, stored, directory, now_ms, blind_since_ms)
            node = None if status.node is None else store.node(connection, status.node)
        if node is None and status.node is not None:
            node = _never_seen(directory.nodes[status.node])
        return Position(status, tuple(layers(status, node)))

    def nodes(self, *, scope: Scope) -> list[NodeStatus]:
        """Return all nodes of a scope, by serial; one that was never seen is among them."""
        directory = self._directory()
        with self._database.read() as connection:
            stored = store.nodes(connection, unit_path=scope.unit_path)
        refs = sorted((n for n in directory.nodes.values() if scope.contains(n.unit_path)), key=lambda n: n.serial)
        return [stored.get(n.id) or _never_seen(n) for n in refs]

    def blind_since_ms(self) -> int | None:
        """Return since when nobody watches, None while somebody does."""
        with self._database.read() as connection:
            return self._blind_since_ms(store.last_beat(connection), self._clock.now_ms())

    def lag(self) -> int:
        """Return how many rows of the journal live state has not seen (of this process)."""
        return max(0, self._journal.newest_id() - (self._cursor or 0))

    def _blind_since_ms(self, beat_at_ms: int | None, now_ms: int) -> int | None:
        return beat_at_ms if beat_at_ms is not None and now_ms - beat_at_ms > BLIND_AFTER_MS else None


def position_news(status: PositionStatus) -> dict[str, object]:
    """Return what the change log says of a position."""
    return {
        "position": status.position_id,
        "code": status.code,
        "kind": status.kind.value,
        "state": status.state.value,
        "cause": status.cause,
        "since_ms": status.since_ms,
        "observed_at_ms": status.observed_at_ms,
        "functions": {f.function.value: {"state": f.state.value, "cause": f.cause, "since_ms": f.since_ms} for f in status.functions},
    }


def node_news(status: NodeStatus) -> dict[str, object]:
    """Return what the change log says of a node."""
    return {
        "node": status.node,
        "serial": status.serial,
        "is_online": status.is_online,
        "cause": status.cause,
        "since_ms": status.since_ms,
        "agent": status.agent,
        "is_simulated": status.is_simulated,
    }


def _never_seen(ref: NodeRef) -> NodeStatus:
    return NodeStatus(
        node=ref.id,
        serial=ref.serial,
        unit_path=ref.unit_path,
        is_online=False,
        cause=Cause.NEVER_SEEN.value,
        since_ms=None,
        session="",
        last_heartbeat_at_ms=None,
        agent="",
        is_simulated=ref.is_simulated,
    )


def _is_retired(ref: PositionRef, now_ms: int) -> bool:
    return ref.retired_at_ms is not None and ref.retired_at_ms <= now_ms


def _is_same(one: PositionStatus, other: PositionStatus | None) -> bool:
    """Whether nothing changed but when it was last seen."""
    if other is None:
        return False
    functions = _unseen(one.functions) == _unseen(other.functions)
    plain = replace(other, observed_at_ms=one.observed_at_ms, functions=one.functions, is_commissioned=one.is_commissioned)
    return functions and plain == one


def _unseen(functions: Sequence[FunctionState]) -> list[FunctionState]:
    return [function._replace(observed_at_ms=None) for function in functions]


def _is_same_node(one: NodeStatus, other: NodeStatus | None) -> bool:
    return other is not None and replace(other, last_heartbeat_at_ms=one.last_heartbeat_at_ms) == one


def _present(
    ref: PositionRef, stored: PositionStatus | None, directory: Directory, now_ms: int, blind_since_ms: int | None
) -> PositionStatus:
    """Join what is stored with the directory of now; while blind, nothing is known."""
    channel = directory.channel_of(ref.id, now_ms)
    node = None if channel is None else directory.nodes.get(channel[0])
    cause = Cause.NOT_INSTALLED if channel is None else Cause.NEVER_SEEN
    functions = tuple(FunctionState(function, State.UNKNOWN, cause.value, None, None) for function in ref.functions)
    status = PositionStatus(
        position_id=ref.id,
        code=ref.code,
        kind=ref.kind,
        unit_path=ref.unit_path,
        zone_code=ref.zone_code,
        state=State.UNKNOWN,
        cause=cause.value,
        since_ms=None,
        observed_at_ms=None,
        functions=functions,
        node=None if channel is None else channel[0],
        channel=None if channel is None else channel[1],
        is_simulated=node is not None and node.is_simulated,
        is_commissioned=ref.commissioned_at_ms is not None and ref.commissioned_at_ms <= now_ms,
    )
    if stored is not None:
        kept = stored.functions if tuple(f.function for f in stored.functions) == ref.functions else functions
        status = replace(
            status, state=stored.state, cause=stored.cause, since_ms=stored.since_ms, observed_at_ms=stored.observed_at_ms, functions=kept
        )
    return status if blind_since_ms is None else _blinded(status, blind_since_ms)


def _blinded(status: PositionStatus, since_ms: int) -> PositionStatus:
    functions = tuple(f._replace(state=State.UNKNOWN, cause=Cause.SERVER_BLIND.value, since_ms=since_ms) for f in status.functions)
    return replace(status, state=State.UNKNOWN, cause=Cause.SERVER_BLIND.value, since_ms=since_ms, functions=functions)

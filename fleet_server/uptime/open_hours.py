"""The hours that are not closed yet, folded as the evidence comes in, so that "uptime so far" costs no second reading.

A node is loaded from the journal when it is first asked for; from then on each of its heartbeats is added as it comes.
Where evidence comes out of order (replay), or turns out to have been dated wrongly, the node is loaded again when it is next
asked for.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.topics import Up
from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Row
from fleet_server.presence.model import OutOfOrder
from fleet_server.presence.wiring import FOREVER_MS, Wiring
from fleet_server.uptime.fold import Key, OffsetOf, node_reach_ms, observations, trails
from fleet_server.uptime.model import Trail

_BATCH = 5_000
_MAX_BEHIND = 50_000


class _Open:
    """One node since the last closed hour."""

    __slots__ = ("through", "trails", "undated")

    def __init__(self, found: dict[Key, Trail], through: int, undated: set[BootId]) -> None:
        self.trails = found
        self.through = through
        self.undated = undated


class OpenHours:
    """Trails of nodes since `from_ms`, the end of the last closed hour. Safe to use from many threads."""

    def __init__(self, journal: Journal, offset_of: OffsetOf) -> None:
        self._journal = journal
        self._offset_of = offset_of
        self._nodes: dict[NodeId, _Open] = {}
        self._wiring: Wiring | None = None
        self._from_ms = FOREVER_MS
        self._tail = 0
        self._lock = threading.Lock()

    @contextmanager
    def trails(self, nodes: Iterable[NodeId], *, from_ms: int, wiring: Wiring) -> Iterator[dict[Key, Trail]]:
        """Lend trails that hold everything the journal has of these nodes since `from_ms`; nothing is added meanwhile."""
        with self._lock:
            self._set_window(from_ms, wiring)
            self._catch_up()
            found: dict[Key, Trail] = {}
            shared: set[str] = set()
            for node in nodes:
                if node not in self._nodes:
                    self._nodes[node] = self._load(node, wiring)
                mine = self._nodes[node].trails
                shared.update(position for position, _ in mine.keys() & found.keys())
                found.update(mine)
            if shared:
                found.update(self._joined(shared, wiring))
            yield found

    def _joined(self, positions: set[str], wiring: Wiring) -> dict[Key, Trail]:
        """Return the trails of positions that more than one node served since the last closed hour."""
        nodes = sorted({mount.node for position in positions for mount in wiring.by_position[position]})
        rows = [row for node in nodes for row in self._rows(node, wiring)]
        return {key: trail for key, trail in trails(rows, wiring, self._offset_of).items() if key[0] in positions}

    def _rows(self, node: NodeId, wiring: Wiring) -> list[Row]:
        return self._journal.of_node(node, from_ms=self._from_ms - node_reach_ms(wiring, node), to_ms=FOREVER_MS)

    def feed(self, rows: Sequence[Row]) -> None:
        """Take rows of the journal, ascending, without a hole since the last that was fed."""
        with self._lock:
            self._feed(rows)

    def forget(self) -> None:
        """Drop everything; it is loaded again when asked for."""
        with self._lock:
            self._nodes.clear()

    def _set_window(self, from_ms: int, wiring: Wiring) -> None:
        if self._wiring is not wiring or from_ms < self._from_ms:
            self._nodes.clear()
        elif from_ms > self._from_ms:
            for node in self._nodes.values():
                for trail in node.trails.values():
                    trail.forget_before(from_ms)
        self._wiring, self._from_ms = wiring, from_ms

    def _catch_up(self) -> None:
        if not self._nodes or self._journal.newest_id() - self._tail > _MAX_BEHIND:
            self._nodes.clear()
            return
        while rows := self._journal.after(self._tail, limit=_BATCH):
            self._feed(rows)

    def _feed(self, rows: Sequence[Row]) -> None:
        try:
            for row in rows:
                node = self._nodes.get(row.node)
                if node is not None and row.id > self._tail and row.id > node.through and not self._take(row, node):
                    del self._nodes[row.node]
        except Transient:  # the rest of these rows will not be fed again
            self._nodes.clear()
            raise
        if rows:
            self._tail = max(self._tail, rows[-1].id)

    def _take(self, row: Row, node: _Open) -> bool:
        """Add a row to a node's trails; False when it must be loaded again."""
        assert self._wiring is not None
        if row.at_ms is not None and row.boot in node.undated:
            return False
        if row.topic is not Up.HEARTBEAT:
            return True
        if row.at_ms is None:
            if row.boot is not None and self._offset_of(row.node, row.boot) is None:
                node.undated.add(row.boot)
        elif row.at_ms + node_reach_ms(self._wiring, row.node) < self._from_ms:
            return True
        try:
            for key, observation in observations(row, self._wiring, self._offset_of):
                trail = node.trails.get(key)
                if trail is None:
                    trail = node.trails[key] = Trail()
                trail.observe(observation)
        except OutOfOrder:
            return False
        return True

    def _load(self, node: NodeId, wiring: Wiring) -> _Open:
        self._tail = self._tail if self._nodes else self._journal.newest_id()
        rows = self._rows(node, wiring)
        undated = {row.boot for row in rows if row.at_ms is None and row.boot is not None and self._offset_of(node, row.boot) is None}
        return _Open(trails(rows, wiring, self._offset_of), max((row.id for row in rows), default=0), undated)

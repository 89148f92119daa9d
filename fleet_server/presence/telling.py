"""What live state is told: the difference to what was told before, in the tables of this room and in the change log."""

from collections.abc import Callable
from typing import Final

from firmware_agent.contract.ids import NodeId
from fleet_server.clock import Clock
from fleet_server.exemptions.model import Calendar
from fleet_server.presence import store
from fleet_server.presence.exempted import evidence_of, excepted
from fleet_server.presence.layers import NodeStatus, PositionStatus
from fleet_server.presence.live import Live
from fleet_server.presence.present import is_same, is_same_node, node_news, position_news
from fleet_server.presence.watch import Watch
from fleet_server.storage import Database, changes

WRITE_BATCH: Final = 1_000
_BEAT_MS: Final = 2_000
_TOUCH_NODES_MS: Final = 10_000
_TOUCH_POSITIONS_MS: Final = 60_000


class Telling:
    """Blocking. Live state holds the evidence; what is told of a position is that with its exemptions over it."""

    def __init__(self, database: Database, live: Live, calendar: Callable[[], Calendar], clock: Clock) -> None:
        """`calendar` returns the exemptions of now."""
        self.watch: Final = Watch()
        self._database = database
        self._live = live
        self._exemptions = calendar
        self._clock = clock
        self._shown: dict[str, PositionStatus] = {}
        self._shown_nodes: dict[NodeId, NodeStatus] = {}
        self._unheard: set[NodeId] = set()
        self._calendar, self._calendar_at_ms = Calendar(), 0
        self._beat_at_ms = self._nodes_touched_at_ms = self._positions_touched_at_ms = 0

    # ---- after a start ----------------------------------------------------------------------------------------------

    def restore(self) -> int | None:
        """Give live state what was told when the server stopped; return when it was last up to date, None if never."""
        with self._database.read() as connection:
            self._shown = store.positions(connection, unit_path="/")
            self._shown_nodes = store.nodes(connection, unit_path="/")
            beat_at_ms = store.last_beat(connection)
        for node in self._shown_nodes.values():
            self._live.restore_node(node)
        for position in self._shown.values():
            self._live.restore_position(evidence_of(position))
        if beat_at_ms is not None:
            self.watch.beat(beat_at_ms)
        return beat_at_ms

    def compare_all(self) -> None:
        """Have everything compared with what was told of it."""
        known = (position.position_id for position in self._live.positions(self._clock.now_ms()))
        self._live.mark((*self._shown, *known), self._shown_nodes)

    # ---- telling ----------------------------------------------------------------------------------------------------

    def next_turn_ms(self) -> int | None:
        """Return when an exemption begins or ends next, None if none does."""
        return self._calendar.next_edge_ms(self._calendar_at_ms)

    def tell(self, *, is_watching: bool) -> None:
        """Write what changed, in transactions of a bounded size, then, while somebody watches, refresh what is only seen.

        Raises:
            StorageUnavailable: what is not written yet is written by the next call.
        """
        self._mark()
        now_ms = self._clock.now_ms()
        positions, nodes = self._live.changed_positions(), self._live.changed_nodes()
        for start in range(0, max(len(positions), len(nodes)), WRITE_BATCH):
            self._write(positions[start : start + WRITE_BATCH], nodes[start : start + WRITE_BATCH], now_ms)
        if is_watching and now_ms - self._beat_at_ms >= _BEAT_MS:
            self._touch(now_ms)

    def _mark(self) -> None:
        """Have those compared that no evidence names: where an exemption turned or changed, and nodes first heard after their birth."""
        calendar, now_ms = self._exemptions(), self._clock.now_ms()
        turned = calendar.turning(self._calendar_at_ms, now_ms)
        if calendar is not self._calendar:
            turned |= calendar.differing(self._calendar)
        self._calendar, self._calendar_at_ms = calendar, now_ms
        heard = [name for name in self._unheard if (node := self._live.node(name)) is None or node.last_heartbeat_at_ms is not None]
        self._live.mark(turned, heard)

    def _write(self, position_ids: list[str], node_ids: list[NodeId], now_ms: int) -> None:
        positions = {name: self._position(name, now_ms) for name in position_ids}
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
        self._unheard = self._unheard - nodes.keys() | {n.node for n in told_nodes if n.is_online and n.last_heartbeat_at_ms is None}
        for name in gone:
            self._shown.pop(name, None)
        for node_id in gone_nodes:
            self._shown_nodes.pop(node_id, None)
        self._live.settled(position_ids, node_ids)

    def _position(self, position_id: str, now_ms: int) -> PositionStatus | None:
        evidence = self._live.position(position_id, now_ms)
        if evidence is None:
            return None
        return excepted(evidence, self._calendar.of(position_id), now_ms, told=self._shown.get(position_id))

    def _touch(self, now_ms: int) -> None:
        """Refresh the sign of life and, more rarely, when things were last seen."""
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
        self.watch.beat(now_ms)

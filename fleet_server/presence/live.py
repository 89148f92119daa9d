"""Live state in memory: the newest evidence of each function, when it ends, and who is online. No I/O, no clock.

Everything here is told the time. Late evidence never touches it. For each function it holds what `model.Fold` would say at
that time; on the path where nothing changes it does no more than compare and move one number.
"""

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

from firmware_agent.contract.ids import NodeId, SessionId
from firmware_agent.contract.messages import Heartbeat, Status
from firmware_agent.contract.vocabulary import Online
from fleet_server.presence.dating import boot_offset_ms, read_clock
from fleet_server.presence.evidence import dated
from fleet_server.presence.layers import Cause, NodeStatus, PositionStatus
from fleet_server.presence.model import SEVERITY, Observation, State, outranks
from fleet_server.presence.now import FunctionNow, NodeNow, PositionNow, node_status, position_status
from fleet_server.presence.wiring import Wiring
from fleet_server.registry.model import NodeRef, PositionRef


class Live:
    """The state of all positions and nodes now."""

    def __init__(self, *, node_supervision_ms: int = 60_000) -> None:
        """A node without a live heartbeat for `node_supervision_ms` is offline."""
        self._node_supervision_ms = node_supervision_ms
        self._nodes: dict[NodeId, NodeNow] = {}
        self._positions: dict[str, PositionNow] = {}
        self._ends: list[tuple[int, int, FunctionNow | NodeNow]] = []
        self._tick = count()
        self._changed_positions: dict[str, None] = {}
        self._changed_nodes: dict[NodeId, None] = {}
        self._rewire_at_ms = 0
        self._watching_since_ms = 0
        self._version: int | None = None

    # ---- who is where -----------------------------------------------------------------------------------------------

    def is_wired(self, version: int, now_ms: int) -> bool:
        """Whether the wiring of this version of the directory still holds."""
        return self._version == version and now_ms < self._rewire_at_ms

    def wire(self, wiring: Wiring, now_ms: int) -> None:
        """Take over a version of the directory. What stays where it was keeps its evidence; what moved becomes unknown."""
        directory = wiring.directory
        self._changed_nodes.update(dict.fromkeys(self._nodes.keys() - directory.nodes.keys()))
        self._nodes = {node: self._kept_node(ref) for node, ref in directory.nodes.items()}
        kept: dict[str, PositionNow] = {}
        for ref in directory.positions.values():
            if ref.retired_at_ms is None or now_ms < ref.retired_at_ms:
                kept[ref.id] = self._kept_position(ref, now_ms)
        self._changed_positions.update(dict.fromkeys(self._positions.keys() - kept.keys()))
        self._positions = kept
        for position in kept.values():
            self._mount(position, wiring, now_ms)
        self._version = directory.version
        self._rewire_at_ms = wiring.next_change_ms(now_ms)

    def _kept_node(self, ref: NodeRef) -> NodeNow:
        now = self._nodes.get(ref.id)
        if now is None or now.ref != ref:
            self._changed_nodes[ref.id] = None
        if now is None:
            return NodeNow(ref)
        now.ref, now.served, now.positions = ref, {}, []
        return now

    def _kept_position(self, ref: PositionRef, now_ms: int) -> PositionNow:
        now = self._positions.get(ref.id)
        if now is None or now.ref != ref:
            self._changed_positions[ref.id] = None
        if now is None:
            return PositionNow(ref)
        if now.ref.functions != ref.functions:
            known = {function.function: function for function in now.functions}
            now.functions = [known.get(function) or FunctionNow(function, now) for function in ref.functions]
            _weigh(now, now_ms)
        now.ref = ref
        return now

    def _mount(self, position: PositionNow, wiring: Wiring, now_ms: int) -> None:
        mount = wiring.mounted(position.ref.id, now_ms)
        node = None if mount is None else self._nodes.get(mount.node)
        channel = None if mount is None else mount.channel
        if (node, channel) != (position.node, position.channel) or (mount is not None and mount.from_ms != position.from_ms):
            self._changed_positions[position.ref.id] = None
            for function in position.functions:
                self._cut(function, now_ms if mount is None else mount.from_ms)
        position.node, position.channel = node, channel
        if mount is None or node is None:
            return
        position.from_ms = mount.from_ms
        node.positions.append(position)
        for function in position.functions:
            function.cap_ms = mount.cap_ms
            node.served[mount.channel, function.function] = function

    def _cut(self, function: FunctionNow, at_ms: int) -> None:
        """Let evidence of hardware that was taken away end."""
        if function.newest is not None and function.newest.until_ms > at_ms:
            function.newest = function.newest._replace(until_ms=max(at_ms, function.newest.at_ms))
            self._time(function, function.newest.until_ms)

    # ---- after a start ----------------------------------------------------------------------------------------------

    def restore_node(self, stored: NodeStatus) -> None:
        """Take over what was known of a node when the server stopped."""
        node = self._nodes.get(stored.node)
        if node is not None:
            node.session, node.agent, node.cause, node.since_ms = stored.session, stored.agent, stored.cause, stored.since_ms
            node.heard_at_ms = node.heartbeat_at_ms = stored.last_heartbeat_at_ms
            if node.heard_at_ms is not None:
                self._time(node, self._silent_at_ms(node.heard_at_ms))

    def restore_position(self, stored: PositionStatus) -> None:
        """Take over what was shown of a position when the server stopped, so that an unchanged state keeps its "since"."""
        position = self._positions.get(stored.position_id)
        if position is None:
            return
        position.state, position.since_ms = stored.state, stored.since_ms
        shown = {function.function: function for function in stored.functions}
        for function in position.functions:
            if (before := shown.get(function.function)) is not None:
                function.shown, function.cause, function.since_ms = before.state, before.cause, before.since_ms

    def watch_from(self, now_ms: int) -> None:
        """Say since when this server watches: no node is called silent for the time before."""
        self._watching_since_ms = now_ms

    def restored(self, at_ms: int) -> None:
        """Say that the journal was read again: what it did not prove by `at_ms` is unknown since then."""
        for position in self._positions.values():
            for function in position.functions:
                if function.newest is None and function.shown is not State.UNKNOWN:
                    self._show(function, State.UNKNOWN, Cause.NO_EVIDENCE, at_ms)

    # ---- what is heard ----------------------------------------------------------------------------------------------

    def heartbeat(self, node_id: NodeId, heartbeat: Heartbeat, received_at_ms: int) -> None:
        """Take a live heartbeat. Of a node that the directory does not know, nothing is believed."""
        node = self._nodes.get(node_id)
        if node is None:
            return
        self._hear(node, heartbeat.session, received_at_ms)
        node.heartbeat_at_ms = node.heard_at_ms
        reading = read_clock(heartbeat.clock, received_at_ms)
        if reading.boot != node.boot:
            node.boot, node.offset_ms = reading.boot, None
        if node.offset_ms is None:
            node.offset_ms = boot_offset_ms(reading)
        for function, _, observation in dated(
            heartbeat, received_at_ms=received_at_ms, is_replay=False, offset_ms=node.offset_ms, target_of=node.target_of
        ):
            if not observation.is_late:
                self._observe(function, observation)

    def status(self, node_id: NodeId, status: Status, received_at_ms: int) -> None:
        """Take a birth or a will. An "offline" counts for the current session only."""
        node = self._nodes.get(node_id)
        if node is None:
            return
        if status.status is Online.ONLINE:
            if status.agent and status.agent != node.agent:
                node.agent = status.agent
                self._changed_nodes[node_id] = None
            if self._is_fresh(status, received_at_ms):
                self._hear(node, status.session, received_at_ms)
        elif node.session in ("", status.session):
            node.session = status.session
            self._lose(node, Cause.NODE_OFFLINE, received_at_ms)

    def _is_fresh(self, status: Status, received_at_ms: int) -> bool:
        """Whether a birth tells of now; a broker hands out a retained one long after."""
        if status.clock is None or not (reading := read_clock(status.clock, received_at_ms)).is_believed:
            return True
        return received_at_ms - reading.wall_ms < self._node_supervision_ms

    def _hear(self, node: NodeNow, session: SessionId | str, received_at_ms: int) -> None:
        if node.heard_at_ms is None or received_at_ms > node.heard_at_ms:
            node.heard_at_ms = received_at_ms
        if session != node.session:
            node.session = session
            self._changed_nodes[node.ref.id] = None
        if node.cause:
            node.cause, node.since_ms = "", received_at_ms
            self._node_changed(node)
        if node.due_at_ms is None:
            self._time(node, self._silent_at_ms(node.heard_at_ms))

    def _lose(self, node: NodeNow, cause: Cause, at_ms: int) -> None:
        if node.cause != cause and node.cause in ("", Cause.NEVER_SEEN, Cause.AGENT_SILENT):
            if node.cause != Cause.AGENT_SILENT:  # silent before the broker noticed: lost since then
                node.since_ms = at_ms
            node.cause = cause
            self._node_changed(node)

    def _node_changed(self, node: NodeNow) -> None:
        self._changed_nodes[node.ref.id] = None
        for position in node.positions:
            if position.state is State.UNKNOWN:
                self._changed_positions[position.ref.id] = None

    def _observe(self, function: FunctionNow, observation: Observation) -> None:
        newest, at_ms = function.newest, observation.at_ms
        if at_ms < function.position.from_ms:
            return
        if newest is not None:
            if at_ms <= newest.at_ms and (at_ms < newest.at_ms or not outranks(observation, newest)):
                return
            if at_ms <= newest.until_ms:
                if observation.state is function.shown and observation.cause == function.cause:
                    function.newest = observation
                    if observation.until_ms < (function.due_at_ms or 0):
                        self._time(function, observation.until_ms)
                    return
            elif function.shown is not State.UNKNOWN:
                self._show(function, State.UNKNOWN, Cause.NO_EVIDENCE, newest.until_ms)
        function.newest = observation
        self._show(function, observation.state, observation.cause, observation.at_ms)
        if function.due_at_ms is None or observation.until_ms < function.due_at_ms:
            self._time(function, observation.until_ms)

    def _show(self, function: FunctionNow, state: State, cause: str, at_ms: int) -> None:
        if state is not function.shown or function.since_ms is None:
            function.shown, function.since_ms = state, at_ms
        function.cause = cause
        self._changed_positions[function.position.ref.id] = None
        _weigh(function.position, at_ms)

    # ---- what ends --------------------------------------------------------------------------------------------------

    def _time(self, subject: "FunctionNow | NodeNow", at_ms: int) -> None:
        subject.due_at_ms = at_ms
        heapq.heappush(self._ends, (at_ms, next(self._tick), subject))

    def expire(self, now_ms: int) -> None:
        """Let end what ends by `now_ms`: evidence becomes unknown, silent nodes offline."""
        while self._ends and self._ends[0][0] <= now_ms:
            at_ms, _, subject = heapq.heappop(self._ends)
            if subject.due_at_ms != at_ms:  # an earlier end took its place
                continue
            subject.due_at_ms = None
            if isinstance(subject, NodeNow):
                self._expire_node(subject, now_ms)
            else:
                self._expire_function(subject, now_ms)

    def _expire_node(self, node: NodeNow, now_ms: int) -> None:
        if self._nodes.get(node.ref.id) is not node or node.heard_at_ms is None or node.cause:
            return
        ends_at_ms = self._silent_at_ms(node.heard_at_ms)
        if ends_at_ms > now_ms:
            self._time(node, ends_at_ms)
        else:
            self._lose(node, Cause.AGENT_SILENT, ends_at_ms)

    def _silent_at_ms(self, heard_at_ms: int) -> int:
        return max(heard_at_ms, self._watching_since_ms) + self._node_supervision_ms

    def _expire_function(self, function: FunctionNow, now_ms: int) -> None:
        newest = function.newest
        if newest is None or self._positions.get(function.position.ref.id) is not function.position:
            return
        if newest.until_ms > now_ms:
            self._time(function, newest.until_ms)
        elif function.shown is not State.UNKNOWN or function.cause != Cause.NO_EVIDENCE:
            self._show(function, State.UNKNOWN, Cause.NO_EVIDENCE, newest.until_ms)

    def next_end_ms(self) -> int | None:
        """Return when something may end next, None if nothing can."""
        return self._ends[0][0] if self._ends else None

    # ---- what is shown ----------------------------------------------------------------------------------------------

    def changed_positions(self) -> list[str]:
        """Return the ids of positions that changed, or went, since `settled`."""
        return list(self._changed_positions)

    def changed_nodes(self) -> list[NodeId]:
        """Return the nodes that changed, or went, since `settled`."""
        return list(self._changed_nodes)

    def mark(self, positions: Iterable[str], nodes: Iterable[NodeId]) -> None:
        """Ask for these to be compared with what was told of them."""
        self._changed_positions.update(dict.fromkeys(positions))
        self._changed_nodes.update(dict.fromkeys(nodes))

    def settled(self, positions: list[str], nodes: list[NodeId]) -> None:
        """Take note that these changes are stored."""
        for position in positions:
            self._changed_positions.pop(position, None)
        for node in nodes:
            self._changed_nodes.pop(node, None)

    def position(self, position_id: str, now_ms: int) -> PositionStatus | None:
        """Return a position's status, None when it is not in the directory or retired."""
        now = self._positions.get(position_id)
        return None if now is None else position_status(now, now_ms)

    def node(self, node_id: NodeId) -> NodeStatus | None:
        """Return a node's status, None when it is not in the directory."""
        now = self._nodes.get(node_id)
        return None if now is None else node_status(now)

    def positions(self, now_ms: int) -> Iterator[PositionStatus]:
        """Yield all."""
        return (position_status(now, now_ms) for now in self._positions.values())

    def nodes(self) -> Iterator[NodeStatus]:
        """Yield all."""
        return (node_status(now) for now in self._nodes.values())


def _weigh(position: PositionNow, at_ms: int) -> None:
    """Let a position be what the worst of its functions is, since `at_ms` where that is new."""
    worst = max((function.shown for function in position.functions), key=SEVERITY.__getitem__)
    if worst is not position.state or position.since_ms is None:
        position.state, position.since_ms = worst, at_ms

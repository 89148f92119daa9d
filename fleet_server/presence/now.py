"""What live state holds of one function, one position, one node, and how it is shown."""

from firmware_agent.contract.ids import Channel
from firmware_agent.contract.vocabulary import Function
from fleet_server.presence.layers import Cause, NodeStatus, PositionStatus
from fleet_server.presence.model import FunctionState, Observation, State
from fleet_server.registry.model import NodeRef, PositionRef


class FunctionNow:
    """One function of a position."""

    __slots__ = ("cap_ms", "cause", "due_at_ms", "function", "newest", "position", "shown", "since_ms")

    def __init__(self, function: Function, position: "PositionNow") -> None:
        self.function = function
        self.position = position
        self.cap_ms = 1
        self.newest: Observation | None = None
        self.shown = State.UNKNOWN
        self.cause = ""
        self.since_ms: int | None = None
        self.due_at_ms: int | None = None


class PositionNow:
    """One position."""

    __slots__ = ("channel", "from_ms", "functions", "node", "ref", "since_ms", "state")

    def __init__(self, ref: PositionRef) -> None:
        self.ref = ref
        self.functions = [FunctionNow(function, self) for function in ref.functions]
        self.state = State.UNKNOWN
        self.since_ms: int | None = None
        self.node: NodeNow | None = None
        self.channel: Channel | None = None
        self.from_ms = 0


class NodeNow:
    """One node, and what its channels serve now."""

    __slots__ = (
        "agent",
        "boot",
        "cause",
        "due_at_ms",
        "heard_at_ms",
        "heartbeat_at_ms",
        "offset_ms",
        "positions",
        "ref",
        "served",
        "session",
        "since_ms",
    )

    def __init__(self, ref: NodeRef) -> None:
        self.ref = ref
        self.served: dict[tuple[str, str], FunctionNow] = {}
        self.positions: list[PositionNow] = []
        self.session = ""
        self.agent = ""
        self.cause: str = Cause.NEVER_SEEN
        self.since_ms: int | None = None
        self.heard_at_ms: int | None = None
        self.heartbeat_at_ms: int | None = None
        self.due_at_ms: int | None = None
        self.boot = ""
        self.offset_ms: int | None = None

    def target_of(self, channel: str, function: str, _at_ms: int) -> FunctionNow | None:
        """Return what evidence of a function on a channel is about."""
        return self.served.get((channel, function))


def position_status(now: PositionNow, now_ms: int) -> PositionStatus:
    """Show a position."""
    ref = now.ref
    functions = tuple(
        FunctionState(f.function, f.shown, _cause(f, now), f.since_ms, None if f.newest is None else f.newest.at_ms) for f in now.functions
    )
    cause = next((f.cause for f in functions if f.state is now.state), "")
    observed = [f.observed_at_ms for f in functions if f.observed_at_ms is not None]
    return PositionStatus(
        position_id=ref.id,
        code=ref.code,
        kind=ref.kind,
        unit_path=ref.unit_path,
        zone_code=ref.zone_code,
        state=now.state,
        cause=cause,
        since_ms=now.since_ms,
        observed_at_ms=max(observed, default=None),
        functions=functions,
        node=None if now.node is None else now.node.ref.id,
        channel=now.channel,
        is_simulated=now.node is not None and now.node.ref.is_simulated,
        is_commissioned=ref.commissioned_at_ms is not None and ref.commissioned_at_ms <= now_ms,
    )


def _cause(function: FunctionNow, position: PositionNow) -> str:
    """Say why a function is not seen, by the outermost layer that explains it."""
    if function.shown is not State.UNKNOWN or function.cause not in ("", Cause.NO_EVIDENCE):
        return function.cause
    if position.node is None:
        return Cause.NOT_INSTALLED.value
    if position.node.cause:
        return str(position.node.cause)
    return Cause.NEVER_SEEN.value if function.since_ms is None else Cause.NO_EVIDENCE.value


def node_status(now: NodeNow) -> NodeStatus:
    """Show a node."""
    return NodeStatus(
        node=now.ref.id,
        serial=now.ref.serial,
        unit_path=now.ref.unit_path,
        is_online=not now.cause,
        cause=str(now.cause),
        since_ms=now.since_ms,
        session=now.session,
        last_heartbeat_at_ms=now.heartbeat_at_ms,
        agent=now.agent,
        is_simulated=now.ref.is_simulated,
    )

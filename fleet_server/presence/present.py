"""How live state is shown and told: joined with the directory, compared with what was told, put into words. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fleet_server.access.model import Scope
from fleet_server.exemptions.model import Calendar
from fleet_server.presence.exempted import evidence_of, excepted
from fleet_server.presence.layers import Cause, NodeStatus, PositionStatus
from fleet_server.presence.model import FunctionState, State
from fleet_server.registry.model import Directory, NodeRef, PositionRef


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


def never_seen(ref: NodeRef) -> NodeStatus:
    """Show a node of which nothing is stored."""
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


def is_retired(ref: PositionRef, now_ms: int) -> bool:
    """Whether a position has ended."""
    return ref.retired_at_ms is not None and ref.retired_at_ms <= now_ms


def is_same(one: PositionStatus, other: PositionStatus | None) -> bool:
    """Whether nothing changed but when it was last seen."""
    if other is None:
        return False
    functions = _unseen(one.functions) == _unseen(other.functions)
    plain = replace(other, observed_at_ms=one.observed_at_ms, functions=one.functions, is_commissioned=one.is_commissioned)
    return functions and plain == one


def _unseen(functions: Sequence[FunctionState]) -> list[FunctionState]:
    return [function._replace(observed_at_ms=None) for function in functions]


def is_same_node(one: NodeStatus, other: NodeStatus | None) -> bool:
    """Whether nothing changed but when it was last heard; the first time counts."""
    if other is None or (one.last_heartbeat_at_ms is None) != (other.last_heartbeat_at_ms is None):
        return False
    return replace(other, last_heartbeat_at_ms=one.last_heartbeat_at_ms) == one


@dataclass(frozen=True, slots=True)
class Moment:
    """What all positions of one answer are shown with."""

    directory: Directory
    calendar: Calendar
    now_ms: int
    blind_since_ms: int | None
    """Since when nobody watches, None while somebody does."""

    def positions(self, scope: Scope) -> Iterator[PositionRef]:
        """Yield the positions of a scope that are not retired."""
        return (ref for ref in self.directory.positions.values() if scope.contains(ref.unit_path) and not is_retired(ref, self.now_ms))

    def show(self, ref: PositionRef, stored: PositionStatus | None) -> PositionStatus:
        """Show a position as it is now."""
        return excepted(self.evidence(ref, stored), self.calendar.of(ref.id), self.now_ms, told=stored)

    def evidence(self, ref: PositionRef, stored: PositionStatus | None) -> PositionStatus:
        """Join what the evidence said last with the directory of now; while blind, nothing is known."""
        channel = self.directory.channel_of(ref.id, self.now_ms)
        node = None if channel is None else self.directory.nodes.get(channel[0])
        unseen = (Cause.NOT_INSTALLED if channel is None else Cause.NEVER_SEEN).value
        known = None if stored is None else evidence_of(stored)
        if known is not None and tuple([f.function for f in known.functions]) == ref.functions:
            functions = known.functions
        else:
            functions = tuple([FunctionState(function, State.UNKNOWN, unseen, None, None) for function in ref.functions])
        status = PositionStatus(
            position_id=ref.id,
            code=ref.code,
            kind=ref.kind,
            unit_path=ref.unit_path,
            zone_code=ref.zone_code,
            state=State.UNKNOWN if known is None else known.state,
            cause=unseen if known is None else known.cause,
            since_ms=None if known is None else known.since_ms,
            observed_at_ms=None if known is None else known.observed_at_ms,
            functions=functions,
            node=None if channel is None else channel[0],
            channel=None if channel is None else channel[1],
            is_simulated=node is not None and node.is_simulated,
            is_commissioned=ref.commissioned_at_ms is not None and ref.commissioned_at_ms <= self.now_ms,
        )
        return status if self.blind_since_ms is None else _blinded(status, self.blind_since_ms)


def _blinded(status: PositionStatus, since_ms: int) -> PositionStatus:
    functions = tuple(f._replace(state=State.UNKNOWN, cause=Cause.SERVER_BLIND.value, since_ms=since_ms) for f in status.functions)
    return replace(status, state=State.UNKNOWN, cause=Cause.SERVER_BLIND.value, since_ms=since_ms, functions=functions)

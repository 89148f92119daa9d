"""What a press is, when it happened, and how it is answered. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from firmware_agent.contract.ids import Channel, EventId, NodeId
from firmware_agent.contract.messages import Event
from firmware_agent.contract.vocabulary import EventType
from fleet_server.presence.dating import read_clock, shift_ms
from fleet_server.registry.model import PositionRef

LATE_MS: Final = 30_000
"""A press that arrives older than this is marked late; it is raised all the same, with its age shown."""

TOLD: Final = frozenset({EventType.STUCK, EventType.STUCK_CLEARED, EventType.FAULT, EventType.FAULT_CLEARED, EventType.TAMPER})
"""Events that are news but no press."""


class PressState(StrEnum):
    """How far a press is answered."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody has it."""
    CLOSED = "closed"
    """It is dealt with."""


NEXT: Final = MappingProxyType(
    {
        PressState.OPEN: frozenset({PressState.ACKNOWLEDGED}),
        PressState.ACKNOWLEDGED: frozenset({PressState.CLOSED}),
        PressState.CLOSED: frozenset[PressState](),
    }
)
"""The only ways a press goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press, drill or not."""

    number: int
    """Counts up in the order in which presses were raised."""
    event_id: EventId
    node: NodeId
    channel: Channel
    position_id: str | None
    """None: nothing was installed on that channel; the press is the node's."""
    position_code: str | None
    unit_path: str
    occurred_at_ms: int
    """The edge of the contact, by the server's reckoning."""
    is_dated: bool
    """Whether the node's clock told when; else the receive time stands in."""
    received_at_ms: int
    is_drill: bool
    is_late: bool
    is_boot_asserted: bool
    """The contact was closed already when the agent started: it may be older than it looks."""
    is_simulated: bool
    state: PressState = PressState.OPEN
    version: int = 1
    acknowledged_by: str | None = None
    acknowledged_at_ms: int | None = None
    closed_by: str | None = None
    closed_at_ms: int | None = None
    position: PositionRef | None = None
    """The position as the registry has it now; not stored with the press."""

    @property
    def latency_ms(self) -> int:
        """From the edge of the contact until it reached the server."""
        return self.received_at_ms - self.occurred_at_ms

    def age_ms(self, now_ms: int) -> int:
        """How long ago it happened."""
        return max(0, now_ms - self.occurred_at_ms)


@dataclass(frozen=True, slots=True)
class Moment:
    """When an event happened."""

    at_ms: int
    is_dated: bool


def moment_of(event: Event, *, received_at_ms: int, boot_offset_ms: int | None) -> Moment:
    """Date an event: by its own clock if that is believed, else by what is known of its boot, else by receive time.

    Nothing happened after it was received.
    """
    reading = read_clock(event.clock, received_at_ms)
    is_dated = reading.is_believed or boot_offset_ms is not None
    shift = shift_ms(reading, received_at_ms=received_at_ms, is_replay=False, offset_ms=boot_offset_ms) if is_dated else None
    if shift is None:
        return Moment(received_at_ms, is_dated=False)
    return Moment(max(0, min(event.occurred_at_ms + shift, received_at_ms)), is_dated)


def came_late(moment: Moment, *, received_at_ms: int, is_replay: bool) -> bool:
    """Whether an event arrived later than it should have."""
    return is_replay or received_at_ms - moment.at_ms > LATE_MS


def news_of(press: Press) -> dict[str, Any]:
    """Return what the change log says of a press."""
    return {
        "event_id": press.event_id,
        "node": press.node,
        "channel": press.channel,
        "position": press.position_code,
        "occurred_at_ms": press.occurred_at_ms,
        "received_at_ms": press.received_at_ms,
        "latency_ms": press.latency_ms,
        "is_dated": press.is_dated,
        "is_drill": press.is_drill,
        "is_late": press.is_late,
        "is_simulated": press.is_simulated,
        "state": press.state.value,
        "version": press.version,
        "acknowledged_by": press.acknowledged_by,
        "acknowledged_at_ms": press.acknowledged_at_ms,
    }

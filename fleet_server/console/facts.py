"""What the pages know of the fleet: plain values, read from the services by `sources`, shown by `model` and the templates.

All times are milliseconds since 1970-01-01 UTC; labels are data (Thai and English as the registry holds them).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.presence.layers import LayerStatus
from fleet_server.presence.model import State
from fleet_server.uptime.model import Parts


@dataclass(frozen=True, slots=True)
class Position:
    """One place where a device belongs, as it stands now."""

    code: str
    kind: Kind
    label_th: str
    label_en: str
    unit_path: str
    zone_code: str
    state: State
    cause: str = ""
    since_ms: int | None = None
    observed_at_ms: int | None = None
    commissioned_at_ms: int | None = None
    is_simulated: bool = False


@dataclass(frozen=True, slots=True)
class FunctionNow:
    """One function of a position, now, with the newest numbers of its evidence."""

    function: Function
    state: State
    cause: str = ""
    since_ms: int | None = None
    observed_at_ms: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PositionDetail:
    """Why a position is judged as it is."""

    position: Position
    layers: Sequence[LayerStatus]
    functions: Sequence[FunctionNow]
    node_serial: str = ""
    channel: str = ""
    supervision_ms: int = 0
    latitude: float | None = None
    longitude: float | None = None
    owner: str = ""
    maintainer: str = ""
    warranty_until: date | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One node and whether it is heard."""

    id: str
    serial: str
    label: str
    is_online: bool
    since_ms: int | None = None
    last_heartbeat_at_ms: int | None = None
    agent: str = ""
    is_simulated: bool = False


@dataclass(frozen=True, slots=True)
class Press:
    """One press of a panic button."""

    event_id: str
    code: str
    label_th: str
    label_en: str
    occurred_at_ms: int
    stored_at_ms: int
    zone_code: str = ""
    is_drill: bool = False
    is_late: bool = False
    """It came by replay or long after it happened."""
    acknowledged_at_ms: int | None = None
    acknowledged_by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to answer."""
        return self.acknowledged_at_ms is None


@dataclass(frozen=True, slots=True)
class Zone:
    """One protected area, and the unit that leads it."""

    code: str
    label_th: str
    label_en: str
    unit_path: str


@dataclass(frozen=True, slots=True)
class Unit:
    """One police unit, by its place in the tree."""

    path: str
    label_th: str
    label_en: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page, and what they may do there."""

    name: str
    role: str
    unit_path: str
    may_acknowledge: bool = False
    is_anonymous: bool = False
    """Nobody has logged in: the open first page of a demo."""


@dataclass(frozen=True, slots=True)
class DemoAct:
    """One thing the demo can break or restore."""

    name: str
    target: str = ""
    label_th: str = ""
    label_en: str = ""
    is_active: bool = False
    """It is broken now; the button mends it."""


@dataclass(frozen=True, slots=True)
class Hour:
    """How a position spent the commissioned part of one hour, or of what is past of it."""

    from_ms: int
    to_ms: int
    parts: Parts

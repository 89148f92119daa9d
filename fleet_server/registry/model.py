"""What the fleet consists of, as one immutable snapshot for hot paths. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import FUNCTIONS, Function, Kind

INNOVATION_TYPES: Final[Mapping[Kind, str | None]] = MappingProxyType(
    {Kind.CAMERA: "cctv", Kind.PANIC_BUTTON: "panic_button", Kind.STREET_LIGHT: "street_light", Kind.SENSOR: None}
)
"""The digital-innovation type that a kind stands for, unless its position says otherwise; sensors carry none."""

DEFAULT_SUPERVISION_MS: Final[Mapping[Kind, int]] = MappingProxyType(
    {Kind.PANIC_BUTTON: 60_000, Kind.CAMERA: 90_000, Kind.STREET_LIGHT: 900_000, Kind.SENSOR: 300_000}
)
MAX_ZONE_KM2: Final = 2.0
"""A zone "should not exceed" this; a larger one is a warning, not an error. Source: domain.md §2, zone rule 3.4."""


class Level(StrEnum):
    """What a unit is in the police's tree."""

    HQ = "hq"
    COMMAND = "command"
    DIVISION = "division"
    STATION = "station"


def default_functions(kind: Kind) -> tuple[Function, ...]:
    """Return what a position of `kind` must do unless more is asked: `recording` of a camera is opt-in."""
    return FUNCTIONS[kind][:1]


@dataclass(frozen=True, slots=True)
class Unit:
    """One police unit; `path` is its place in the tree."""

    path: str
    code: str
    level: Level
    name_th: str
    name_en: str = ""


@dataclass(frozen=True, slots=True)
class Zone:
    """A protected area; its home in the tree is the leading station."""

    code: str
    name_th: str
    name_en: str
    area_km2: float | None
    lead_unit_path: str
    stations: tuple[str, ...]
    """Unit paths of all stations it lies in, the leading one among them."""


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A node as others need to know it."""

    id: NodeId
    serial: str
    unit_path: str
    is_simulated: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRef:
    """A position as others need to know it."""

    id: str
    code: str
    kind: Kind
    functions: tuple[Function, ...]
    unit_path: str
    zone_code: str
    innovation_type: str | None
    supervision_ms: int
    commissioned_at_ms: int | None
    retired_at_ms: int | None = None
    label_th: str = ""
    label_en: str = ""
    lat: float = 0.0
    lon: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(PositionRef):
    """A position with what is known of it beyond judging it."""

    owner: str = ""
    funder: str = ""
    maintainer: str = ""
    warranty_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRef:
    """Hardware that served a position during `[from_ms, to_ms)`; `to_ms` None: it still does."""

    position_id: str
    node: NodeId
    channel: Channel
    from_ms: int
    to_ms: int | None = None
    device_serial: str = ""
    device_model: str = ""

    def covers(self, at_ms: int) -> bool:
        """Whether it was there at that time."""
        return self.from_ms <= at_ms and (self.to_ms is None or at_ms < self.to_ms)


class _History:
    """Installations of one channel or one position, which never overlap, by time."""

    __slots__ = ("_starts", "installations")

    def __init__(self, installations: Iterable[InstallationRef]) -> None:
        self.installations = tuple(sorted(installations, key=lambda i: i.from_ms))
        self._starts = [i.from_ms for i in self.installations]

    def at(self, at_ms: int) -> InstallationRef | None:
        index = bisect_right(self._starts, at_ms) - 1
        if index < 0 or not self.installations[index].covers(at_ms):
            return None
        return self.installations[index]


class Directory:
    """An immutable snapshot of nodes, positions and installations. All look-ups are O(1) or O(log n) in one channel's history."""

    __slots__ = ("_by_channel", "_by_code", "_by_node", "_by_position", "_by_serial", "nodes", "positions", "version")

    version: int
    """Rises with each change of the registry."""
    nodes: Mapping[NodeId, NodeRef]
    positions: Mapping[str, PositionRef]
    """By id of the position."""

    def __init__(
        self,
        version: int,
        *,
        nodes: Iterable[NodeRef] = (),
        positions: Iterable[PositionRef] = (),
        installations: Iterable[InstallationRef] = (),
    ) -> None:
        """Index the parts. Installations of one channel must not overlap in time, nor those of one position."""
        self.version = version
        self.nodes = MappingProxyType({node.id: node for node in nodes})
        self.positions = MappingProxyType({position.id: position for position in positions})
        self._by_code = {position.code: position for position in self.positions.values()}
        self._by_serial = {node.serial: node for node in self.nodes.values()}
        by_channel: dict[tuple[NodeId, Channel], list[InstallationRef]] = {}
        by_position: dict[str, list[InstallationRef]] = {}
        by_node: dict[NodeId, list[InstallationRef]] = {}
        for installation in installations:
            by_channel.setdefault((installation.node, installation.channel), []).append(installation)
            by_position.setdefault(installation.position_id, []).append(installation)
            if installation.to_ms is None:
                by_node.setdefault(installation.node, []).append(installation)
        self._by_channel = {key: _History(history) for key, history in by_channel.items()}
        self._by_position = {key: _History(history) for key, history in by_position.items()}
        self._by_node = {node: tuple(sorted(current, key=lambda i: i.channel)) for node, current in by_node.items()}

    def position_at(self, node: NodeId, channel: Channel, at_ms: int) -> PositionRef | None:
        """Return the position that a channel of a node served at that time, by installation history."""
        installation = self.installation_at(node, channel, at_ms)
        return None if installation is None else self.positions.get(installation.position_id)

    def installation_at(self, node: NodeId, channel: Channel, at_ms: int) -> InstallationRef | None:
        """Return the hardware that was on a channel of a node at that time."""
        history = self._by_channel.get((node, channel))
        return None if history is None else history.at(at_ms)

    def channel_of(self, position_id: str, at_ms: int) -> tuple[NodeId, Channel] | None:
        """Return the channel that served a position at that time."""
        history = self._by_position.get(position_id)
        installation = None if history is None else history.at(at_ms)
        return None if installation is None else (installation.node, installation.channel)

    def installations(self, position_id: str) -> tuple[InstallationRef, ...]:
        """Return all hardware that ever served a position, oldest first."""
        history = self._by_position.get(position_id)
        return () if history is None else history.installations

    def history(self, node: NodeId, channel: Channel) -> tuple[InstallationRef, ...]:
        """Return all positions that a channel ever served, oldest first."""
        history = self._by_channel.get((node, channel))
        return () if history is None else history.installations

    def channels(self, node: NodeId) -> tuple[InstallationRef, ...]:
        """Return the current installations of a node, by channel."""
        return self._by_node.get(node, ())

    def position_of_code(self, code: str) -> PositionRef | None:
        """Return the position with that code."""
        return self._by_code.get(code)

    def node_of_serial(self, serial: str) -> NodeRef | None:
        """Return the node with that serial number."""
        return self._by_serial.get(serial)

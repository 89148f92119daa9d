"""Which position a channel serves, and served: the directory's installation history, indexed for reading evidence."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from firmware_agent.contract.ids import Channel, NodeId
from fleet_server.presence.model import ttl_cap_ms
from fleet_server.registry.model import Directory, PositionRef

FOREVER_MS: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Mount:
    """A position served by a channel over `[from_ms, to_ms)`."""

    from_ms: int
    to_ms: int
    node: NodeId
    channel: Channel
    position: PositionRef
    cap_ms: int
    """The longest ttl its evidence may claim."""


@dataclass(slots=True)
class NodeWiring:
    """All mounts of one node, by channel, ascending."""

    mounts: dict[str, list[Mount]] = field(default_factory=dict)
    cap_ms: int = 1
    """The longest of all."""

    def add(self, mount: Mount) -> None:
        """Index one more mount."""
        self.mounts.setdefault(mount.channel, []).append(mount)
        self.cap_ms = max(self.cap_ms, mount.cap_ms)

    def target_at(self, channel: str, function: str, at_ms: int) -> Mount | None:
        """Return what evidence of a function made at an instant is about, None when nobody needs that function there."""
        mount = self.mount_at(channel, at_ms)
        return mount if mount is not None and function in mount.position.functions else None

    def mount_at(self, channel: str, at_ms: int) -> Mount | None:
        """Return what a channel served at an instant."""
        mounts = self.mounts.get(channel)
        if not mounts:
            return None
        index = bisect_right(mounts, at_ms, key=lambda mount: mount.from_ms) - 1
        return mounts[index] if index >= 0 and at_ms < mounts[index].to_ms else None

    def positions(self, from_ms: int, to_ms: int) -> set[str]:
        """Return the ids of the positions served at any time of a window."""
        return {m.position.id for mounts in self.mounts.values() for m in mounts if m.from_ms < to_ms and from_ms < m.to_ms}


class Wiring:
    """The index of one version of the directory."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.nodes: dict[NodeId, NodeWiring] = {}
        self.by_position: dict[str, list[Mount]] = {}
        for position in directory.positions.values():
            cap_ms = ttl_cap_ms(position.supervision_ms)
            for installation in directory.installations(position.id):
                to_ms = FOREVER_MS if installation.to_ms is None else installation.to_ms
                mount = Mount(installation.from_ms, to_ms, installation.node, installation.channel, position, cap_ms)
                self._add(mount)
        for wiring in self.nodes.values():
            for mounts in wiring.mounts.values():
                mounts.sort(key=lambda mount: mount.from_ms)

    def _add(self, mount: Mount) -> None:
        self.nodes.setdefault(mount.node, NodeWiring()).add(mount)
        self.by_position.setdefault(mount.position.id, []).append(mount)

    def node(self, node: NodeId) -> NodeWiring:
        """Return the mounts of a node; none for one that serves nothing."""
        return self.nodes.get(node) or NodeWiring()

    def mounted(self, position_id: str, at_ms: int) -> Mount | None:
        """Return what serves a position at an instant."""
        return next((m for m in self.by_position.get(position_id, ()) if m.from_ms <= at_ms < m.to_ms), None)

    def next_change_ms(self, after_ms: int) -> int:
        """Return the next instant at which a mount begins or ends by itself, far away if none."""
        edges = (edge for mounts in self.by_position.values() for m in mounts for edge in (m.from_ms, m.to_ms))
        return min((edge for edge in edges if edge > after_ms), default=FOREVER_MS)

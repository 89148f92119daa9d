"""From journal rows to ledger rows: a pure function of the journal, the registry and the exemptions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.messages import BadMessage
from fleet_server.ingest.model import Lane, Row
from fleet_server.presence.evidence import dated, reach_ms
from fleet_server.presence.model import Observation, Overlay, Segment, combine, overlay
from fleet_server.presence.wiring import Wiring
from fleet_server.registry.model import PositionRef
from fleet_server.uptime.model import HOUR_MS, WHOLE, Parts, Span, Trail, clip, measure
from fleet_server.uptime.store import LedgerRow

OffsetOf = Callable[[NodeId, BootId | None], int | None]
"""Offset (wall − monotonic, ms) of a node's boot, None while unknown."""

Key = tuple[str, str]
"""Position and function."""

NO_OVERLAYS: Final[Sequence[Overlay]] = ()


def observations(row: Row, wiring: Wiring, offset_of: OffsetOf) -> Iterator[tuple[Key, Observation]]:
    """Yield what one stored heartbeat proves, by the position that its channel served at that time.

    Evidence ends when the hardware is taken away.
    """
    mounts = wiring.nodes.get(row.node)
    if mounts is None:
        return
    try:
        heartbeat = row.heartbeat()
    except BadMessage:  # stored by a server that was more tolerant: what cannot be read proves nothing
        return
    for mount, function, observation in dated(
        heartbeat,
        received_at_ms=row.received_at_ms,
        is_replay=row.lane is Lane.REPLAY,
        offset_ms=None if row.at_ms is not None else offset_of(row.node, row.boot),
        target_of=mounts.target_at,
    ):
        if observation.until_ms > mount.to_ms:
            observation = observation._replace(until_ms=mount.to_ms)
        yield (mount.position.id, function), observation


def trails(rows: Iterable[Row], wiring: Wiring, offset_of: OffsetOf) -> dict[Key, Trail]:
    """Return the trail of each function that the rows speak of."""
    found: dict[Key, list[Observation]] = {}
    offsets: dict[tuple[NodeId, BootId | None], int | None] = {}

    def known(node: NodeId, boot: BootId | None) -> int | None:
        if (node, boot) not in offsets:
            offsets[node, boot] = offset_of(node, boot)
        return offsets[node, boot]

    for row in rows:
        for key, observation in observations(row, wiring, known):
            found.setdefault(key, []).append(observation)
    return {key: Trail.of(made) for key, made in found.items()}


def node_reach_ms(wiring: Wiring, node: NodeId) -> int:
    """Return how far a node's evidence may lie from its heartbeats, to either side."""
    return reach_ms(wiring.node(node).cap_ms)


def position_parts(
    position: PositionRef, found: Mapping[Key, Trail], span: Span, overlays: Sequence[Overlay] = NO_OVERLAYS
) -> dict[str, Parts]:
    """Return the parts of a span, cut to the position's commissioned life, by function and for the whole.

    Empty where it was not commissioned.
    """
    life = clip(span, position.commissioned_at_ms, position.retired_at_ms)
    if life.from_ms >= life.to_ms:
        return {}
    mine = [found.get((position.id, function.value)) or Trail() for function in position.functions]
    parts = {function.value: measure([trail], life, overlays) for function, trail in zip(position.functions, mine, strict=True)}
    if len(mine) > 1:
        parts[WHOLE] = measure(mine, life, overlays)
    return parts


def states(position: PositionRef, found: Mapping[Key, Trail], span: Span, overlays: Sequence[Overlay] = NO_OVERLAYS) -> list[Segment]:
    """Tile a span with the states of a position as a whole."""
    mine = [found.get((position.id, function.value)) or Trail() for function in position.functions]
    return overlay(combine([trail.segments(*span) for trail in mine]), overlays)


def ledger_rows(
    positions: Iterable[PositionRef], hours: Iterable[int], found: Mapping[Key, Trail], overlays: Mapping[str, Sequence[Overlay]]
) -> list[LedgerRow]:
    """Fold hours of positions."""
    return [
        LedgerRow(position.id, function, hour_ms, position.unit_path, parts)
        for hour_ms in hours
        for position in positions
        for function, parts in position_parts(
            position, found, Span(hour_ms, hour_ms + HOUR_MS), overlays.get(position.id, NO_OVERLAYS)
        ).items()
    ]

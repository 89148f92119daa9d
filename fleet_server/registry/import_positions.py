"""Importing positions, with the hardware that serves them."""

import json
import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from firmware_agent.contract.ids import Channel, NodeId
from fleet_server.access.model import Scope
from fleet_server.registry import store
from fleet_server.registry.csv_cells import Cells
from fleet_server.registry.csv_rows import PositionRow
from fleet_server.registry.import_job import Job, Read, UnitIndex
from fleet_server.registry.model import InstallationRef, Unit, Zone

_OPTIONAL_COLUMNS: Final = ("label_en", "functions", "innovation_type", "owner", "funder", "maintainer", "warranty_until")


@dataclass(frozen=True, slots=True)
class _Wish:
    """Hardware that a row wants at a position."""

    cells: Cells
    position_id: str
    code: str
    node: NodeId
    channel: Channel
    since_ms: int
    """When it began to serve, if nothing served before."""


def import_positions(job: Job, reads: Sequence[Read[PositionRow]]) -> None:
    """Write positions, then move hardware where it shall be."""
    units = UnitIndex(job)
    zones = {zone.code: zone for zone in store.zones(job.connection, Scope.ALL)}
    existing = store.positions_of_codes(job.connection, [row.code for _, row in reads])
    nodes = store.nodes_of_serials(job.connection, [row.node_serial for _, row in reads if row.node_serial])
    wishes: list[_Wish] = []
    changes: list[tuple[str, Mapping[str, Any], bool]] = []
    for cells, row in reads:
        before = existing.get(row.code)
        station = units.station(cells, "station", row.station)
        if station is None or not _fits(job, cells, row, before, zones.get(row.zone), station):
            continue
        number = str(uuid.uuid4()) if before is None else str(before["id"])
        changes.append((number, _values(job, cells, row, before, station.path), before is None))
        if row.channel is None:
            continue
        node = nodes.get(row.node_serial)
        if node is None or not job.scope.contains(node.unit_path):
            cells.fault("node_serial", f"there is no node {row.node_serial!r}: import nodes first")
        else:
            since_ms = job.now_ms if row.commissioned_at_ms is None else min(job.now_ms, row.commissioned_at_ms)
            wishes.append(_Wish(cells, number, row.code, node.id, row.channel, since_ms))
    store.add_positions(job.connection, [{"id": number, **values} for number, values, is_new in changes if is_new])
    for number, values, is_new in changes:
        if values and not is_new:
            store.change_position(job.connection, number, values)
    moved = _install(job, wishes)
    for number, values, is_new in changes:
        if is_new or values or number in moved:
            job.count(is_new=is_new)


def _fits(job: Job, cells: Cells, row: PositionRow, before: Mapping[str, Any] | None, zone: Zone | None, station: Unit) -> bool:
    """Check what a row says against what is there; note each fault."""
    faults = len(job.findings.errors)
    if zone is None or not (job.scope.contains(zone.lead_unit_path) or any(job.scope.contains(path) for path in zone.stations)):
        cells.fault("zone", f"there is no zone {row.zone!r}: import zones first")
    elif station.path not in zone.stations:
        cells.fault("station", f"zone {row.zone!r} does not lie in {row.station!r}")
    if before is not None:
        if not job.scope.contains(before["unit_path"]):
            cells.fault("code", f"{row.code!r} is taken by another unit")
        elif before["retired_at_ms"] is not None:
            cells.fault("code", f"{row.code!r} is retired; its history stays, so use another code")
        elif before["kind"] != row.kind:
            cells.fault("kind", f"{row.code!r} is a {before['kind']}: history belongs to it, so use another code")
        elif None not in (row.commissioned_at_ms, before["commissioned_at_ms"]) and row.commissioned_at_ms != before["commissioned_at_ms"]:
            cells.fault("commissioned_at", f"{row.code!r} was commissioned at another moment, and its uptime counts from there")
    return len(job.findings.errors) == faults


def _values(job: Job, cells: Cells, row: PositionRow, before: Mapping[str, Any] | None, unit_path: str) -> dict[str, Any]:
    """Return the columns to write: all of a new position, of a known one those that change."""
    values: dict[str, Any] = {
        "code": row.code,
        "zone_code": row.zone,
        "unit_path": unit_path,
        "kind": row.kind.value,
        "functions": json.dumps([function.value for function in row.functions]),
        "label_th": row.label_th,
        "label_en": row.label_en,
        "lat": row.lat,
        "lon": row.lon,
        "owner": row.owner,
        "funder": row.funder,
        "maintainer": row.maintainer,
        "warranty_until": None if row.warranty_until is None else row.warranty_until.isoformat(),
        "innovation_type": row.innovation_type,
        "supervision_ms": row.supervision_ms,
    }
    is_commissioned = before is not None and before["commissioned_at_ms"] is not None
    if not is_commissioned:
        # With hardware and no moment given, it counts from now on.
        given = job.now_ms if row.commissioned_at_ms is None and row.channel is not None else row.commissioned_at_ms
        values["commissioned_at_ms"] = given
    if before is None:
        return values
    absent = {name for name in _OPTIONAL_COLUMNS if not cells.has(name)}
    if not cells.has("supervision_s"):
        absent.add("supervision_ms")
    return {name: value for name, value in values.items() if name not in absent and before[name] != value}


def _install(job: Job, wishes: Sequence[_Wish]) -> set[str]:
    """Move hardware where it shall be, all at once, so that two positions may swap; return the positions that changed."""
    history = store.installations_of(
        job.connection, position_ids=[wish.position_id for wish in wishes], node_ids=[wish.node for wish in wishes]
    )
    current = {i.position_id: i for i in history if i.to_ms is None}
    serving = {(i.node, i.channel): i.position_id for i in current.values()}
    moves = [wish for wish in wishes if _place(current.get(wish.position_id)) != (wish.node, wish.channel)]
    leaving = {wish.position_id for wish in moves}
    past: set[object] = {key for i in history for key in (i.position_id, (i.node, i.channel))}
    taken: dict[tuple[NodeId, Channel], str] = {}
    for wish in wishes:
        place = (wish.node, wish.channel)
        holder = serving.get(place)
        rival = taken.setdefault(place, wish.code)
        if rival != wish.code:
            wish.cells.fault("channel", f"{wish.channel!r} of this node is given to {rival!r} too")
        elif holder not in (None, wish.position_id) and holder not in leaving:
            wish.cells.fault("channel", f"{wish.channel!r} of this node serves another position")
    if job.findings.errors:
        return leaving
    store.end_installations(job.connection, leaving & set(current), job.now_ms)
    store.begin_installations(
        job.connection,
        [
            InstallationRef(position_id=wish.position_id, node=wish.node, channel=wish.channel, from_ms=_begin(job, wish, past))
            for wish in moves
        ],
    )
    return leaving


def _begin(job: Job, wish: _Wish, past: Set[object]) -> int:
    """A first installation reaches back to when the position was commissioned; a later one begins now."""
    is_first = wish.position_id not in past and (wish.node, wish.channel) not in past
    return wish.since_ms if is_first else job.now_ms


def _place(installation: InstallationRef | None) -> tuple[NodeId, Channel] | None:
    return None if installation is None else (installation.node, installation.channel)

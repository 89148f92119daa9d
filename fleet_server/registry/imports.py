"""Applying CSV files to the registry, in the caller's transaction. Faults go into `findings`; who sees one undoes all.

The file's key column says which thing a row means: a known key updates, a new one creates, the same again changes nothing.
A column that the file has not stays as it is. Never changed by a file: a position's kind and the moment it was
commissioned, a node's mark as simulated. An empty `node_serial` leaves the hardware where it is.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from firmware_agent.contract.ids import Channel, NodeId, new_node_id
from fleet_server.access.model import Scope, is_unit_path
from fleet_server.registry import store
from fleet_server.registry.csv_cells import Cells, Findings, ImportKind, RowError, read_table
from fleet_server.registry.csv_rows import NodeRow, PositionRow, UnitRow, ZoneRow, node_row, position_row, unit_row, zone_row
from fleet_server.registry.model import InstallationRef, Level, NodeRef, Unit, Zone

T = TypeVar("T")
Read = tuple[Cells, T]
_RANKS: Final = {level: rank for rank, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file did, or would do."""

    kind: ImportKind
    is_dry_run: bool
    rows: int
    created: int
    updated: int
    unchanged: int
    errors: Sequence[RowError]
    """If there is one, nothing was written."""
    warnings: Sequence[RowError]


@dataclass(slots=True)
class Job:
    """One file on its way into the registry."""

    connection: Connection
    scope: Scope
    now_ms: int
    findings: Findings = field(default_factory=Findings)
    rows: int = 0
    created: int = 0
    updated: int = 0

    def count(self, *, is_new: bool) -> None:
        """Count one thing written."""
        self.created += is_new
        self.updated += not is_new


def apply(job: Job, kind: ImportKind, text: str) -> None:
    """Read `text` and write what it says.

    Raises:
        Rejected: it is no CSV file of that kind.
    """
    match kind:
        case ImportKind.UNITS:
            _units(job, _read(job, kind, text, unit_row, lambda row: (row.parent, row.code)))
        case ImportKind.ZONES:
            _zones(job, _read(job, kind, text, zone_row, lambda row: row.code))
        case ImportKind.POSITIONS:
            _positions(job, _read(job, kind, text, position_row, lambda row: row.code))
        case ImportKind.NODES:
            _nodes(job, _read(job, kind, text, node_row, lambda row: row.serial))


def _read(job: Job, kind: ImportKind, text: str, parse: Callable[[Cells], T], key: Callable[[T], object]) -> list[Read[T]]:
    """Parse all rows; return those without fault."""
    good: list[Read[T]] = []
    seen: dict[object, int] = {}
    for cells in read_table(kind, text, job.findings):
        job.rows += 1
        faults = len(job.findings.errors)
        row = parse(cells)
        if len(job.findings.errors) > faults:
            continue
        first = seen.setdefault(key(row), cells.number)
        if first != cells.number:
            cells.fault("", f"says the same thing as row {first}: each may appear once")
            continue
        good.append((cells, row))
    return good


class _Units:
    """Finds units by path or code, inside the scope."""

    def __init__(self, job: Job) -> None:
        self._scope = job.scope
        self.by_path = {unit.path: unit for unit in store.units(job.connection, Scope.ALL)}
        self._by_code: dict[str, list[str]] = {}
        for unit in self.by_path.values():
            self._by_code.setdefault(unit.code, []).append(unit.path)

    def add(self, unit: Unit) -> None:
        if unit.path not in self.by_path:
            self._by_code.setdefault(unit.code, []).append(unit.path)
        self.by_path[unit.path] = unit

    def find(self, reference: str, *, is_any: bool = False) -> Unit | None:
        """Return the one unit that is meant, also above the scope if `is_any`; None when there is no such one, or several."""
        paths = [reference] if reference.startswith("/") else self._by_code.get(reference, [])
        inside = [self.by_path[path] for path in paths if path in self.by_path and (is_any or self._scope.contains(path))]
        return inside[0] if len(inside) == 1 else None

    def station(self, cells: Cells, column: str, reference: str) -> Unit | None:
        """Return the station that is meant; note the fault when there is none."""
        unit = self.find(reference)
        if unit is None:
            cells.fault(column, f"there is no unit {reference!r} (if several have this code, give the path)")
        elif unit.level is not Level.STATION:
            cells.fault(column, f"{reference!r} is a {unit.level}, not a station")
            return None
        return unit


def _units(job: Job, reads: Sequence[Read[UnitRow]]) -> None:
    """Parents may come after their children in the file."""
    units = _Units(job)
    waiting = list(reads)
    while waiting:
        next_round = [(cells, row) for cells, row in waiting if not _unit(job, units, cells, row)]
        if len(next_round) == len(waiting):
            for cells, row in waiting:
                cells.fault("parent", f"there is no unit {row.parent!r} (if several have this code, give the path)")
            return
        waiting = next_round


def _unit(job: Job, units: _Units, cells: Cells, row: UnitRow) -> bool:
    """Write one unit; return False while its parent is not known."""
    parent = units.find(row.parent, is_any=True) if row.parent else None
    if row.parent not in ("", "/") and parent is None:
        return False
    above = "/" if parent is None else parent.path
    path = "/" if row.level is Level.HQ else f"{above}{row.code}/"
    if row.level is Level.HQ and row.parent:
        cells.fault("parent", "the headquarters has no parent")
    elif parent is not None and _RANKS[parent.level] >= _RANKS[row.level]:
        cells.fault("level", f"a {row.level} cannot be below the {parent.level} {row.parent!r}")
    elif not job.scope.contains(path) or not is_unit_path(path):
        cells.fault("parent", f"{path} is not yours to change" if is_unit_path(path) else "the tree is too deep here")
    else:
        before = units.by_path.get(path)
        name_en = row.name_en if cells.has("name_en") or before is None else before.name_en
        unit = Unit(path, row.code, row.level, row.name_th, name_en)
        if before is not None and before.code != unit.code:
            cells.fault("code", f"the headquarters is {before.code!r} already")
        elif unit != before:
            store.save_unit(job.connection, unit, is_new=before is None)
            units.add(unit)
            job.count(is_new=before is None)
    return True


def _zones(job: Job, reads: Sequence[Read[ZoneRow]]) -> None:
    units = _Units(job)
    existing = {zone.code: zone for zone in store.zones(job.connection, Scope.ALL)}
    for cells, row in reads:
        before = existing.get(row.code)
        lead = units.station(cells, "lead_station", row.lead_station)
        others = [units.station(cells, "stations", reference) for reference in row.stations]
        if lead is None or None in others:
            continue
        if before is not None and not job.scope.contains(before.lead_unit_path):
            cells.fault("code", f"{row.code!r} is taken by another unit")
            continue
        paths = {lead.path, *(other.path for other in others if other is not None)}
        if before is not None and not cells.has("stations"):
            paths |= set(before.stations)
        zone = Zone(row.code, row.name_th, row.name_en, row.area_km2, lead.path, tuple(sorted(paths)))
        if before is not None:
            kept = {name: getattr(before, name) for name in ("name_en", "area_km2") if not cells.has(name)}
            zone = replace(zone, **kept)
        if zone != before:
            store.save_zone(job.connection, zone, is_new=before is None)
            job.count(is_new=before is None)


def _nodes(job: Job, reads: Sequence[Read[NodeRow]]) -> None:
    units = _Units(job)
    existing = store.nodes_of_serials(job.connection, [row.serial for _, row in reads])
    fresh: list[NodeRef] = []
    for cells, row in reads:
        before = existing.get(row.serial)
        unit = units.find(row.unit)
        if unit is None:
            cells.fault("unit", f"there is no unit {row.unit!r} (if several have this code, give the path)")
        elif before is None:
            fresh.append(NodeRef(new_node_id(), row.serial, unit.path, bool(row.is_simulated), row.label))
            job.count(is_new=True)
        elif not job.scope.contains(before.unit_path):
            cells.fault("serial", f"{row.serial!r} is taken by another unit")
        else:
            _change_node(job, cells, row, before, unit.path)
    store.add_nodes(job.connection, fresh, job.now_ms)


def _change_node(job: Job, cells: Cells, row: NodeRow, before: NodeRef, unit_path: str) -> None:
    if before.is_simulated and row.is_simulated is False:
        cells.warn("is_simulated", "stays marked as simulated: that mark is for ever")
    label = row.label if cells.has("label") else before.label
    node = replace(before, unit_path=unit_path, label=label, is_simulated=before.is_simulated or bool(row.is_simulated))
    if node != before:
        store.change_node(job.connection, node)
        job.count(is_new=False)


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


def _positions(job: Job, reads: Sequence[Read[PositionRow]]) -> None:
    units = _Units(job)
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

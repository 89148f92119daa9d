"""Importing units, zones and nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope, is_unit_path
from fleet_server.registry import store
from fleet_server.registry.csv_cells import Cells
from fleet_server.registry.csv_rows import NodeRow, UnitRow, ZoneRow
from fleet_server.registry.import_job import Job, Read, UnitIndex
from fleet_server.registry.model import Level, NodeRef, Unit, Zone

_RANKS: Final = {level: rank for rank, level in enumerate(Level)}


def import_units(job: Job, reads: Sequence[Read[UnitRow]]) -> None:
    """Write units; parents may come after their children in the file."""
    units = UnitIndex(job)
    waiting = list(reads)
    while waiting:
        next_round = [(cells, row) for cells, row in waiting if not _unit(job, units, cells, row)]
        if len(next_round) == len(waiting):
            for cells, row in waiting:
                cells.fault("parent", f"there is no unit {row.parent!r} (if several have this code, give the path)")
            return
        waiting = next_round


def _unit(job: Job, units: UnitIndex, cells: Cells, row: UnitRow) -> bool:
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


def import_zones(job: Job, reads: Sequence[Read[ZoneRow]]) -> None:
    """Write zones."""
    units = UnitIndex(job)
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


def import_nodes(job: Job, reads: Sequence[Read[NodeRow]]) -> None:
    """Write nodes."""
    units = UnitIndex(job)
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

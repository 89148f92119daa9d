"""Reading and writing the registry's tables. Each function takes the caller's transaction."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Select, insert, or_, select, update

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.model import Scope
from fleet_server.registry.model import Directory, InstallationRef, Level, NodeRef, Position, Unit, Zone
from fleet_server.registry.tables import installation, node, position, registry_version, unit, zone, zone_station
from fleet_server.storage.database import serialise

_LOCK: Final = 7_303
_CHUNK: Final = 500
T = TypeVar("T")


def begin_change(connection: Connection) -> None:
    """Raise the version; changes of the registry happen one after the other."""
    serialise(connection, _LOCK)
    if connection.execute(update(registry_version).values(version=registry_version.c.version + 1)).rowcount == 0:
        connection.execute(insert(registry_version).values(id=1, version=1))


def version(connection: Connection) -> int:
    """Return the version of the registry, 0 before its first change."""
    return connection.execute(select(registry_version.c.version)).scalar() or 0


def directory(connection: Connection, supervision_ms: Mapping[Kind, int]) -> Directory:
    """Read the whole registry.

    The version is read first: should a change slip in between, the next look at the version finds it.
    """
    number = version(connection)
    return Directory(
        number,
        nodes=[_node(row) for row in connection.execute(select(node))],
        positions=[_position(row, supervision_ms) for row in connection.execute(select(position))],
        installations=[_installation(row) for row in connection.execute(select(installation))],
    )


def units(connection: Connection, scope: Scope) -> list[Unit]:
    """Return units by path."""
    query = select(unit).where(unit.c.path.startswith(scope.unit_path, autoescape=True)).order_by(unit.c.path)
    return [Unit(row.path, row.code, Level(row.level), row.name_th, row.name_en) for row in connection.execute(query)]


def save_unit(connection: Connection, value: Unit, *, is_new: bool) -> None:
    """Write a unit; its path says which."""
    values = {"level": value.level.value, "name_th": value.name_th, "name_en": value.name_en}
    if is_new:
        connection.execute(insert(unit).values(path=value.path, parent_path=parent_path(value.path), code=value.code, **values))
    else:
        connection.execute(update(unit).where(unit.c.path == value.path).values(**values))


def parent_path(path: str) -> str | None:
    """Return the path of the unit above, None above the root."""
    return None if path == "/" else path[: path.rstrip("/").rindex("/") + 1]


def zones(connection: Connection, scope: Scope) -> list[Zone]:
    """Return zones that touch the scope, by code."""
    inside = select(zone_station.c.zone_id).where(zone_station.c.unit_path.startswith(scope.unit_path, autoescape=True))
    stations: dict[int, list[str]] = {}
    for row in connection.execute(select(zone_station).order_by(zone_station.c.unit_path)):
        stations.setdefault(row.zone_id, []).append(row.unit_path)
    query = select(zone).where(zone.c.id.in_(inside)).order_by(zone.c.code)
    return [
        Zone(row.code, row.name_th, row.name_en, row.area_km2, row.lead_unit_path, tuple(stations.get(row.id, ())))
        for row in connection.execute(query)
    ]


def save_zone(connection: Connection, value: Zone, *, is_new: bool) -> None:
    """Write a zone and the stations it lies in; its code says which."""
    values = {"name_th": value.name_th, "name_en": value.name_en, "area_km2": value.area_km2, "lead_unit_path": value.lead_unit_path}
    if is_new:
        connection.execute(insert(zone).values(code=value.code, **values))
    else:
        connection.execute(update(zone).where(zone.c.code == value.code).values(**values))
    number = connection.execute(select(zone.c.id).where(zone.c.code == value.code)).scalar_one()
    connection.execute(zone_station.delete().where(zone_station.c.zone_id == number))
    connection.execute(insert(zone_station), [{"zone_id": number, "unit_path": path} for path in value.stations])


def positions(
    connection: Connection,
    supervision_ms: Mapping[Kind, int],
    *,
    scope: Scope,
    kind: Kind | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[Position]:
    """Return positions by code; `after` is the code before the first one wanted."""
    query = select(position).where(position.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(position.c.code)
    if kind is not None:
        query = query.where(position.c.kind == kind.value)
    if after is not None:
        query = query.where(position.c.code > after)
    return [_position(row, supervision_ms) for row in connection.execute(query.limit(limit))]


def position_of_code(connection: Connection, supervision_ms: Mapping[Kind, int], code: str) -> Position | None:
    """Return one position."""
    row = connection.execute(select(position).where(position.c.code == code)).first()
    return None if row is None else _position(row, supervision_ms)


def positions_of_codes(connection: Connection, codes: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return stored rows by code."""
    return {row.code: row._mapping for row in _in_chunks(connection, codes, lambda part: select(position).where(position.c.code.in_(part)))}


def add_positions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new positions."""
    if rows:
        connection.execute(insert(position), rows)


def change_position(connection: Connection, position_id: str, values: Mapping[str, Any]) -> None:
    """Write some columns of a position."""
    connection.execute(update(position).where(position.c.id == position_id).values(**values))


def nodes(connection: Connection, *, scope: Scope, after: str | None = None, limit: int | None = None) -> list[NodeRef]:
    """Return nodes by serial number; `after` is the serial number before the first one wanted."""
    query = select(node).where(node.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(node.c.serial)
    if after is not None:
        query = query.where(node.c.serial > after)
    return [_node(row) for row in connection.execute(query.limit(limit))]


def node_named(connection: Connection, name: str, scope: Scope) -> NodeRef | None:
    """Return the node with this id or serial number."""
    query = select(node).where(or_(node.c.id == name, node.c.serial == name), node.c.unit_path.startswith(scope.unit_path, autoescape=True))
    row = connection.execute(query).first()
    return None if row is None else _node(row)


def nodes_of_serials(connection: Connection, serials: Iterable[str]) -> dict[str, NodeRef]:
    """Return nodes by serial number."""
    return {row.serial: _node(row) for row in _in_chunks(connection, serials, lambda part: select(node).where(node.c.serial.in_(part)))}


def add_nodes(connection: Connection, values: Sequence[NodeRef], created_at_ms: int) -> None:
    """Write new nodes."""
    rows = [
        {
            "id": value.id,
            "serial": value.serial,
            "unit_path": value.unit_path,
            "is_simulated": value.is_simulated,
            "label": value.label,
            "created_at_ms": created_at_ms,
        }
        for value in values
    ]
    if rows:
        connection.execute(insert(node), rows)


def change_node(connection: Connection, value: NodeRef) -> None:
    """Write a node's unit and label; a simulated one stays so, whatever `value` says."""
    connection.execute(update(node).where(node.c.id == value.id).values(unit_path=value.unit_path, label=value.label))
    if value.is_simulated:
        mark_simulated(connection, value.id)


def mark_simulated(connection: Connection, number: NodeId) -> bool:
    """Mark a node as simulated, for ever; return whether it was not before."""
    query = update(node).where(node.c.id == number, node.c.is_simulated.is_(False)).values(is_simulated=True)
    return connection.execute(query).rowcount > 0


def installations_of(connection: Connection, *, position_ids: Iterable[str] = (), node_ids: Iterable[str] = ()) -> list[InstallationRef]:
    """Return all installations, past and present, of these positions and of these nodes; each once."""
    found = {
        row.id: row
        for row in (
            *_in_chunks(connection, position_ids, lambda part: select(installation).where(installation.c.position_id.in_(part))),
            *_in_chunks(connection, node_ids, lambda part: select(installation).where(installation.c.node_id.in_(part))),
        )
    }
    return [_installation(row) for _, row in sorted(found.items())]


def begin_installations(connection: Connection, values: Sequence[InstallationRef]) -> None:
    """Write which hardware serves which position from now on."""
    rows = [
        {
            "position_id": value.position_id,
            "node_id": value.node,
            "channel": value.channel,
            "device_serial": value.device_serial,
            "device_model": value.device_model,
            "from_ms": value.from_ms,
            "to_ms": value.to_ms,
        }
        for value in values
    ]
    if rows:
        connection.execute(insert(installation), rows)


def end_installations(connection: Connection, position_ids: Iterable[str], at_ms: int) -> None:
    """End what serves these positions; what began at that very moment never was."""
    for part in _chunks(sorted(set(position_ids))):
        current = installation.c.position_id.in_(part) & installation.c.to_ms.is_(None)
        connection.execute(installation.delete().where(current, installation.c.from_ms >= at_ms))
        connection.execute(update(installation).where(current).values(to_ms=at_ms))


def _in_chunks(connection: Connection, keys: Iterable[str], query: Any) -> Iterator[Any]:
    for part in _chunks(sorted(set(keys))):
        statement: Select[Any] = query(part)
        yield from connection.execute(statement)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _node(row: Any) -> NodeRef:
    return NodeRef(NodeId(row.id), row.serial, row.unit_path, row.is_simulated, row.label)


@lru_cache(maxsize=64)
def _functions(text: str) -> tuple[Function, ...]:
    return tuple(Function(name) for name in json.loads(text))


def _position(row: Any, supervision_ms: Mapping[Kind, int]) -> Position:
    kind = Kind(row.kind)
    return Position(
        id=row.id,
        code=row.code,
        kind=kind,
        functions=_functions(row.functions),
        unit_path=row.unit_path,
        zone_code=row.zone_code,
        innovation_type=row.innovation_type,
        supervision_ms=supervision_ms[kind] if row.supervision_ms is None else row.supervision_ms,
        commissioned_at_ms=row.commissioned_at_ms,
        retired_at_ms=row.retired_at_ms,
        label_th=row.label_th,
        label_en=row.label_en,
        lat=row.lat,
        lon=row.lon,
        owner=row.owner,
        funder=row.funder,
        maintainer=row.maintainer,
        warranty_until=None if row.warranty_until is None else date.fromisoformat(row.warranty_until),
    )


def _installation(row: Any) -> InstallationRef:
    return InstallationRef(
        position_id=row.position_id,
        node=NodeId(row.node_id),
        channel=Channel(row.channel),
        from_ms=row.from_ms,
        to_ms=row.to_ms,
        device_serial=row.device_serial,
        device_model=row.device_model,
    )

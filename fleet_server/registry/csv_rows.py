"""The rows of the registry's CSV files. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

from firmware_agent.contract.ids import Channel, parse_channel
from firmware_agent.contract.vocabulary import FUNCTIONS, Function, Kind
from fleet_server.registry.csv_cells import Cells, boolean, instant_ms, iso_date, list_of, number_in, serial_text, unit_code, unit_reference
from fleet_server.registry.model import INNOVATION_TYPES, MAX_ZONE_KM2, Level, default_functions

_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_THAILAND: Final = (5.0, 21.0, 97.0, 106.0)


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A line of `units`: `parent` is a path or a code, empty below the root."""

    code: str
    parent: str
    level: Level
    name_th: str
    name_en: str


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """A line of `zones`: stations are paths or codes."""

    code: str
    name_th: str
    name_en: str
    area_km2: float | None
    lead_station: str
    stations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """A line of `positions`."""

    code: str
    zone: str
    station: str
    kind: Kind
    label_th: str
    label_en: str
    lat: float
    lon: float
    node_serial: str
    channel: Channel | None
    functions: tuple[Function, ...]
    innovation_type: str | None
    owner: str
    funder: str
    maintainer: str
    warranty_until: date | None
    commissioned_at_ms: int | None
    supervision_ms: int | None


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A line of `nodes`; `is_simulated` None: not said."""

    serial: str
    unit: str
    label: str
    is_simulated: bool | None


def unit_row(cells: Cells) -> UnitRow:
    """Read a row of `units`."""
    level = cells.read("level", _level, missing=Level.STATION, required=True)
    return UnitRow(
        code=cells.read("code", unit_code, missing="", required=True),
        parent=cells.read("parent", unit_reference, missing=""),
        level=level,
        name_th=cells.text("name_th", required=True),
        name_en=cells.text("name_en"),
    )


def zone_row(cells: Cells) -> ZoneRow:
    """Read a row of `zones`."""
    area = cells.read("area_km2", number_in(0.0, 10_000.0), missing=None)
    if area is not None and area > MAX_ZONE_KM2:
        cells.warn("area_km2", f"{area:g} km² is over the {MAX_ZONE_KM2:g} km² that a zone should not exceed")
    return ZoneRow(
        code=cells.code("code", required=True),
        name_th=cells.text("name_th", required=True),
        name_en=cells.text("name_en"),
        area_km2=area,
        lead_station=cells.read("lead_station", unit_reference, missing="", required=True),
        stations=cells.read("stations", list_of(unit_reference), missing=()),
    )


def position_row(cells: Cells) -> PositionRow:
    """Read a row of `positions`."""
    kind = cells.read("kind", _kind, missing=Kind.CAMERA, required=True)
    serial = cells.code("node_serial")
    channel = cells.read("channel", _channel, missing=None)
    if cells.is_empty("node_serial") != cells.is_empty("channel"):
        cells.fault("channel", "node_serial and channel go together: give both or none")
    supervision_s = cells.read("supervision_s", number_in(0.1, 86_400.0), missing=None)
    row = PositionRow(
        code=cells.code("code", required=True),
        zone=cells.code("zone", required=True),
        station=cells.read("station", unit_reference, missing="", required=True),
        kind=kind,
        label_th=cells.text("label_th", required=True),
        label_en=cells.text("label_en"),
        lat=cells.read("lat", number_in(-90.0, 90.0), missing=None, required=True) or 0.0,
        lon=cells.read("lon", number_in(-180.0, 180.0), missing=None, required=True) or 0.0,
        node_serial=serial,
        channel=channel,
        functions=cells.read("functions", _functions_of(kind), missing=default_functions(kind)),
        innovation_type=cells.read("innovation_type", _innovation_type_of(kind), missing=INNOVATION_TYPES[kind]),
        owner=cells.text("owner"),
        funder=cells.text("funder"),
        maintainer=cells.text("maintainer"),
        warranty_until=cells.read("warranty_until", iso_date, missing=None),
        commissioned_at_ms=cells.read("commissioned_at", instant_ms, missing=None),
        supervision_ms=None if supervision_s is None else round(supervision_s * 1000),
    )
    south, north, west, east = _THAILAND
    if not (south <= row.lat <= north and west <= row.lon <= east):
        cells.warn("lat", f"{row.lat:g}, {row.lon:g} is outside Thailand: are lat and lon swapped?")
    return row


def node_row(cells: Cells) -> NodeRow:
    """Read a row of `nodes`."""
    return NodeRow(
        serial=cells.read("serial", serial_text, missing="", required=True),
        unit=cells.read("unit", unit_reference, missing="", required=True),
        label=cells.text("label"),
        is_simulated=cells.read("is_simulated", boolean, missing=None),
    )


def _level(text: str) -> Level:
    try:
        return Level(text.lower())
    except ValueError as error:
        raise ValueError(f"{text[:64]!r} is none of {', '.join(Level)}") from error


def _kind(text: str) -> Kind:
    try:
        return Kind(text.lower())
    except ValueError as error:
        raise ValueError(f"{text[:64]!r} is none of {', '.join(Kind)}") from error


def _channel(text: str) -> Channel:
    return parse_channel(text)


def _functions_of(kind: Kind) -> Callable[[str], tuple[Function, ...]]:
    def parse(text: str) -> tuple[Function, ...]:
        asked = list_of(str)(text.lower())
        wrong = [name for name in asked if name not in FUNCTIONS[kind]]
        if wrong:
            raise ValueError(f"a {kind} cannot have {', '.join(wrong)}; it can have {', '.join(FUNCTIONS[kind])}")
        if FUNCTIONS[kind][0] not in asked:
            raise ValueError(f"every {kind} must have {FUNCTIONS[kind][0]}")
        return tuple(function for function in FUNCTIONS[kind] if function in asked)

    return parse


def _innovation_type_of(kind: Kind) -> Callable[[str], str | None]:
    def parse(text: str) -> str | None:
        if text.lower() == "none":
            return None
        if INNOVATION_TYPES[kind] is None:
            raise ValueError(f"a {kind} carries no innovation type")
        if not _TYPE.fullmatch(text):
            raise ValueError(f"{text[:64]!r} is no type such as cctv, or none")
        return text

    return parse

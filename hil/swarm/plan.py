"""How large a swarm is, and the registry that belongs to it: units, zones, nodes and positions as the server imports them. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

NODES_PER_STATION: Final = 10
"""A station looks after about 200 positions."""
_STATIONS_PER_DIVISION: Final = 15
_MIX: Final = (
    ("camera", "cam", 7),
    ("panic_button", "btn", 5),
    ("street_light", "lamp", 6),
    ("sensor", "air", 2),
)
_IN_A_MIX: Final = sum(count for _, _, count in _MIX)


@dataclass(frozen=True, slots=True)
class Device:
    """One device of every node."""

    channel: str
    kind: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How many nodes, of how many devices each, and how often they speak."""

    nodes: int = 1500
    devices: int = 20
    rate: float = 10_000.0
    """Device-heartbeats per second of all together."""
    prefix: str = "SWM"
    """What their serial numbers begin with."""

    @property
    def interval_s(self) -> float:
        """Between two heartbeats of one node."""
        return self.nodes * self.devices / self.rate

    @property
    def positions(self) -> int:
        """Devices in all; each serves a position."""
        return self.nodes * self.devices

    @property
    def serials(self) -> list[str]:
        """Serial numbers of all nodes."""
        return [f"{self.prefix}-{number:05d}" for number in range(1, self.nodes + 1)]

    def units_csv(self) -> str:
        """Return one command, its divisions and stations."""
        return _csv(self._units())

    def _units(self) -> Iterator[Mapping[str, str]]:
        yield _unit("swm", "", "command", "Swarm Command")
        stations = range((self.nodes - 1) // NODES_PER_STATION + 1)
        for division in range((len(stations) - 1) // _STATIONS_PER_DIVISION + 1):
            yield _unit(f"d{division:02d}", "/swm/", "division", f"Swarm Division {division}")
        for station in stations:
            yield _unit(f"s{station:04d}", f"/swm/d{station // _STATIONS_PER_DIVISION:02d}/", "station", f"Swarm Station {station}")

    def zones_csv(self) -> str:
        """Return one zone for each station."""
        paths = dict.fromkeys(station_path(number) for number in range(self.nodes))
        return _csv(
            {
                "code": zone_of(path),
                "name_th": zone_of(path),
                "name_en": zone_of(path),
                "area_km2": "0.5",
                "lead_station": path,
                "stations": path,
            }
            for path in paths
        )

    def nodes_csv(self) -> str:
        """Return the nodes, which are marked as simulated."""
        return _csv(
            {"serial": serial, "unit": station_path(number), "is_simulated": "true", "label": serial}
            for number, serial in enumerate(self.serials)
        )

    def positions_csv(self, *, first: int, last: int) -> str:
        """Return the positions of nodes number `first` up to, not including, `last`; they are commissioned when they are imported."""
        return _csv(
            {
                "code": position_code(serial, device.channel),
                "zone": zone_of(station_path(number)),
                "station": station_path(number),
                "kind": device.kind,
                "label_th": position_code(serial, device.channel),
                "label_en": position_code(serial, device.channel),
                "lat": f"{13.5 + number % 100 * 0.004:.5f}",
                "lon": f"{100.4 + number // 100 * 0.01:.5f}",
                "node_serial": serial,
                "channel": device.channel,
                "owner": "swarm",
                "funder": "swarm",
                "maintainer": "swarm",
            }
            for number, serial in list(enumerate(self.serials))[first:last]
            for device in devices(self.devices)
        )


def devices(count: int) -> list[Device]:
    """Return the devices of a node: of 20, 7 cameras, 5 panic buttons, 6 street lights and 2 sensors."""
    kinds = [(kind, name) for kind, name, share in _MIX for _ in range(share)]
    # 7 and 20 have no common divisor, so any few in a row are a mix too.
    picked = [kinds[number * 7 % _IN_A_MIX] for number in range(count)]
    seen: dict[str, int] = {}
    made = []
    for kind, name in picked:
        seen[name] = seen.get(name, 0) + 1
        made.append(Device(f"{name}-{seen[name]}", kind))
    return made


def station_path(node: int) -> str:
    """Return the station that node number `node` (from 0) belongs to."""
    station = node // NODES_PER_STATION
    return f"/swm/d{station // _STATIONS_PER_DIVISION:02d}/s{station:04d}/"


def zone_of(path: str) -> str:
    """Return the code of a station's zone."""
    return f"SWM-{path.rstrip('/').rpartition('/')[2].upper()}"


def position_code(serial: str, channel: str) -> str:
    """Return the code of the position that a device serves."""
    return f"{serial}-{channel}".upper()


def _unit(code: str, parent: str, level: str, name: str) -> Mapping[str, str]:
    return {"code": code, "parent": parent, "level": level, "name_th": name, "name_en": name}


def _csv(rows: Iterable[Mapping[str, str]]) -> str:
    found = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()

"""The station of a scenario: nodes with two buttons and a lamp each, commissioned hours ago so that hours are closed already."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from hil.demo.layout import STATION

COMMISSIONED_AGO: Final = timedelta(hours=2)
_LAT, _LON = 13.7401, 100.5602


@dataclass(frozen=True, slots=True)
class Wired:
    """One device of a node and the position it serves."""

    serial: str
    channel: str
    kind: str

    @property
    def code(self) -> str:
        """The position's code."""
        return f"{self.serial}-{self.channel}".upper()


def wired(serial: str) -> list[Wired]:
    """Return the devices of one node."""
    return [Wired(serial, "btn-1", "panic_button"), Wired(serial, "btn-2", "panic_button"), Wired(serial, "lamp-1", "street_light")]


def serials(count: int) -> list[str]:
    """Return the serial numbers of so many nodes."""
    return [f"HIL-{number:04d}" for number in range(1, count + 1)]


def nodes_csv(names: Iterable[str]) -> str:
    """Return nodes as the server imports them."""
    return _csv({"serial": serial, "unit": STATION, "is_simulated": "true", "label": serial} for serial in names)


def positions_csv(names: Iterable[str]) -> str:
    """Return the positions of these nodes as the server imports them."""
    since = (datetime.now(UTC) - COMMISSIONED_AGO).isoformat(timespec="seconds")
    return _csv(
        {
            "code": device.code,
            "zone": "TWN",
            "station": STATION,
            "kind": device.kind,
            "label_th": device.code,
            "label_en": device.code,
            "lat": str(_LAT),
            "lon": str(_LON),
            "node_serial": device.serial,
            "channel": device.channel,
            "owner": "hil",
            "funder": "hil",
            "maintainer": "hil",
            "commissioned_at": since,
        }
        for serial in names
        for device in wired(serial)
    )


def _csv(rows: Iterable[Mapping[str, str]]) -> str:
    found = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()

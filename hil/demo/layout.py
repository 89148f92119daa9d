"""The example station, zone and positions of the demo. Names are invented; nobody's real street is shown dark."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

STATION: Final = "/tsb/t1/tawan/"


@dataclass(frozen=True, slots=True)
class DemoPosition:
    """One place in the zone and the channel of the node that serves it."""

    code: str
    kind: str
    label_th: str
    label_en: str
    lat: float
    lon: float
    serial: str
    channel: str


NODES: Final = ("DEMO-0001", "DEMO-0002")
SPARES: Final = 3
"""So many nodes are always in the store room, with claim codes ready to enrol with."""

POSITIONS: Final = (
    DemoPosition(
        "TWN-P01-CAM", "camera", "กล้อง เสา 1 ปากซอยตะวัน 3", "Camera, pole 1, Soi Tawan 3", 13.74011, 100.56021, "DEMO-0001", "cam-1"
    ),
    DemoPosition(
        "TWN-P02-CAM", "camera", "กล้อง เสา 2 หน้าตลาดตะวัน", "Camera, pole 2, Tawan market", 13.74052, 100.56074, "DEMO-0001", "cam-2"
    ),
    DemoPosition("TWN-P03-CAM", "camera", "กล้อง เสา 3 สะพานลอย", "Camera, pole 3, footbridge", 13.74093, 100.56117, "DEMO-0002", "cam-1"),
    DemoPosition("TWN-P04-CAM", "camera", "กล้อง เสา 4 ป้ายรถเมล์", "Camera, pole 4, bus stop", 13.74131, 100.56166, "DEMO-0002", "cam-2"),
    DemoPosition("TWN-P01-SOS", "panic_button", "ปุ่มฉุกเฉิน เสา 1", "Panic button, pole 1", 13.74011, 100.56021, "DEMO-0001", "btn-1"),
    DemoPosition("TWN-P02-SOS", "panic_button", "ปุ่มฉุกเฉิน เสา 2", "Panic button, pole 2", 13.74052, 100.56074, "DEMO-0001", "btn-2"),
    DemoPosition("TWN-P04-SOS", "panic_button", "ปุ่มฉุกเฉิน เสา 4", "Panic button, pole 4", 13.74131, 100.56166, "DEMO-0002", "btn-1"),
    DemoPosition("TWN-P01-LMP", "street_light", "โคมไฟ เสา 1", "Street light, pole 1", 13.74011, 100.56021, "DEMO-0001", "lamp-1"),
    DemoPosition("TWN-P02-LMP", "street_light", "โคมไฟ เสา 2", "Street light, pole 2", 13.74052, 100.56074, "DEMO-0001", "lamp-2"),
    DemoPosition("TWN-P03-LMP", "street_light", "โคมไฟ เสา 3", "Street light, pole 3", 13.74093, 100.56117, "DEMO-0002", "lamp-1"),
    DemoPosition("TWN-P04-LMP", "street_light", "โคมไฟ เสา 4", "Street light, pole 4", 13.74131, 100.56166, "DEMO-0002", "lamp-2"),
    DemoPosition("TWN-P03-AIR", "sensor", "เซนเซอร์ฝุ่น เสา 3", "Dust sensor, pole 3", 13.74093, 100.56117, "DEMO-0002", "air-1"),
)


def of_kind(kind: str) -> list[DemoPosition]:
    """Return the positions of one kind, in order."""
    return [position for position in POSITIONS if position.kind == kind]


def of_node(serial: str) -> list[DemoPosition]:
    """Return the positions that a node serves."""
    return [position for position in POSITIONS if position.serial == serial]


def units_csv() -> str:
    """Return the units as the server imports them."""
    return _csv(
        ("code", "parent", "level", "name_th", "name_en"),
        (
            {"code": "tsb", "parent": "", "level": "command", "name_th": "กองบัญชาการตัวอย่าง", "name_en": "Example Command"},
            {"code": "t1", "parent": "/tsb/", "level": "division", "name_th": "กองบังคับการตัวอย่าง 1", "name_en": "Example Division 1"},
            {
                "code": "tawan",
                "parent": "/tsb/t1/",
                "level": "station",
                "name_th": "สถานีตำรวจตะวัน (ตัวอย่าง)",
                "name_en": "Tawan Station (example)",
            },
        ),
    )


def zones_csv() -> str:
    """Return the zone as the server imports it."""
    return _csv(
        ("code", "name_th", "name_en", "area_km2", "lead_station", "stations"),
        (
            {
                "code": "TWN",
                "name_th": "ถนนตะวัน (โซนตัวอย่าง)",
                "name_en": "Tawan Road (example zone)",
                "area_km2": "0.42",
                "lead_station": STATION,
                "stations": STATION,
            },
        ),
    )


def spare_serials(*, after: int, count: int) -> list[str]:
    """Return the serial numbers of `count` more spare nodes, when there were `after` before."""
    return [f"DEMO-{101 + number:04}" for number in range(after, after + max(0, count))]


def nodes_csv(serials: Sequence[str]) -> str:
    """Return nodes as the server imports them."""
    return _csv(
        ("serial", "unit", "is_simulated", "label"),
        ({"serial": serial, "unit": STATION, "is_simulated": "true", "label": serial} for serial in serials),
    )


def positions_csv() -> str:
    """Return the positions as the server imports them; they are commissioned when they are."""
    rows = (
        {
            "code": position.code,
            "zone": "TWN",
            "station": STATION,
            "kind": position.kind,
            "label_th": position.label_th,
            "label_en": position.label_en,
            "lat": str(position.lat),
            "lon": str(position.lon),
            "node_serial": position.serial,
            "channel": position.channel,
            "owner": "เทศบาลตัวอย่าง",
            "funder": "เทศบาลตัวอย่าง",
            "maintainer": "บริษัทตัวอย่าง",
        }
        for position in POSITIONS
    )
    return _csv(
        (
            "code",
            "zone",
            "station",
            "kind",
            "label_th",
            "label_en",
            "lat",
            "lon",
            "node_serial",
            "channel",
            "owner",
            "funder",
            "maintainer",
        ),
        rows,
    )


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

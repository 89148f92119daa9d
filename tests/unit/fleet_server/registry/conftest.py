"""A registry with one command, two stations, one zone, two nodes."""

from collections.abc import Mapping
from typing import Any

import pytest

from fleet_server.registry.csv_cells import ImportKind
from fleet_server.registry.imports import ImportReport
from fleet_server.registry.service import Registry
from fleet_server.storage import Database

UNITS = """code,parent,level,name_th,name_en
bpp,,command,กองบัญชาการตำรวจนครบาล,Metropolitan Police Bureau
n1,bpp,division,บก.น.1,
lumpini,n1,station,สน.ลุมพินี,Lumpini
dusit,/bpp/n1/,station,สน.ดุสิต,Dusit
"""
ZONES = """code,name_th,name_en,area_km2,lead_station,stations
LMP,ลุมพินี,Lumpini,1.2,lumpini,
"""
NODES = """serial,unit,label,is_simulated
SSZ-0001,lumpini,ตู้ 1,
SSZ-0002,lumpini,ตู้ 2,true
"""
POSITIONS = """code,zone,station,kind,label_th,label_en,lat,lon,node_serial,channel,owner,warranty_until,commissioned_at
LMP-P12-CAM-A,LMP,lumpini,camera,กล้อง A เสา 12,Camera A,13.7300,100.5410,SSZ-0001,cam-1,กทม.,2028-09-30,2026-11-01
LMP-P12-BTN,LMP,lumpini,panic_button,ปุ่มเสา 12,,13.7301,100.5411,SSZ-0001,btn-1,,,
LMP-AIR,LMP,lumpini,sensor,เครื่องวัดอากาศ,,13.7302,100.5412,,,,,
"""

FILES = {"units": UNITS, "zones": ZONES, "nodes": NODES, "positions": POSITIONS}


@pytest.fixture
def registry(database: Database, clock: Any) -> Registry:
    return Registry(database, clock)


class Filled:
    """Imports with the least typing."""

    files: Mapping[str, str] = FILES

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def load(self, kind: str, text: str, *, dry_run: bool = False, **options: Any) -> ImportReport:
        return self.registry.import_csv(ImportKind(kind), text, dry_run=dry_run, actor="tester", **options)


@pytest.fixture
def filled(registry: Registry) -> Filled:
    filled = Filled(registry)
    for kind, text in FILES.items():
        report = filled.load(kind, text)
        assert not report.errors, report.errors
    return filled

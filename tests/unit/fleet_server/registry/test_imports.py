"""CSV files: all rows or nothing, each fault named, the same file twice changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import Channel
from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access import audit
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound, Rejected
from fleet_server.registry.csv_cells import serial_text
from fleet_server.registry.service import Registry
from fleet_server.storage import Database
from provisioning import errors
from provisioning.profile import parse_serial

HEAD = (
    "code,zone,station,kind,label_th,lat,lon,node_serial,channel,functions,innovation_type,warranty_until,commissioned_at,supervision_s\n"
)
GOOD = "X-1,LMP,lumpini,camera,กล้อง,13.73,100.54,,,,,,,\n"
STATION = Scope("/bpp/n1/lumpini/")


def test_whole_fleet_comes_in(filled: Any, registry: Registry, clock: Any) -> None:
    directory = registry.directory()
    camera = registry.position("LMP-P12-CAM-A", Scope.ALL)
    assert (camera.kind, camera.functions, camera.innovation_type) == (Kind.CAMERA, (Function.LIVE,), "cctv")
    assert (camera.unit_path, camera.owner, str(camera.warranty_until)) == ("/bpp/n1/lumpini/", "กทม.", "2028-09-30")
    assert camera.commissioned_at_ms == 1_793_466_000_000  # 2026-11-01 00:00 in Bangkok
    node = registry.node("SSZ-0001", Scope.ALL)
    assert directory.position_at(node.id, Channel("cam-1"), camera.commissioned_at_ms or 0) == camera
    button = registry.position("LMP-P12-BTN", Scope.ALL)
    assert button.commissioned_at_ms == clock.now_ms()
    assert registry.position("LMP-AIR", Scope.ALL).innovation_type is None
    assert registry.position("LMP-AIR", Scope.ALL).commissioned_at_ms is None
    assert registry.node("SSZ-0002", Scope.ALL).is_simulated
    assert [unit.path for unit in registry.units(Scope.ALL)] == ["/bpp/", "/bpp/n1/", "/bpp/n1/dusit/", "/bpp/n1/lumpini/"]


@pytest.mark.parametrize("kind", ["units", "zones", "nodes", "positions"])
def test_same_file_again_changes_nothing(filled: Any, registry: Registry, clock: Any, kind: str) -> None:
    before = registry.refresh()
    clock.advance(60_000)
    report = filled.load(kind, filled.files[kind])
    assert (report.created, report.updated, report.errors) == (0, 0, [])
    assert report.unchanged == report.rows > 0
    assert registry.refresh().version == before.version


def test_dry_run_reports_and_writes_nothing(filled: Any, registry: Registry) -> None:
    version = registry.refresh().version
    report = filled.load("positions", HEAD + GOOD, dry_run=True)
    assert (report.is_dry_run, report.rows, report.created, report.errors) == (True, 1, 1, [])
    assert registry.refresh().version == version
    with pytest.raises(NotFound):
        registry.position("X-1", Scope.ALL)


def test_one_bad_row_keeps_all_out(filled: Any, registry: Registry) -> None:
    report = filled.load("positions", HEAD + GOOD + GOOD.replace("X-1", "X-2").replace("13.73", "91"))
    assert (report.created, report.updated) == (0, 0)
    assert [(e.row, e.column) for e in report.errors] == [(3, "lat")]
    with pytest.raises(NotFound):
        registry.position("X-1", Scope.ALL)


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ("X 1,LMP,lumpini,camera,ก,13.7,100.5,,,,,,,", "code", "no code"),
        (",LMP,lumpini,camera,ก,13.7,100.5,,,,,,,", "code", "must not be empty"),
        ("X-1,NOPE,lumpini,camera,ก,13.7,100.5,,,,,,,", "zone", "there is no zone"),
        ("X-1,LMP,nowhere,camera,ก,13.7,100.5,,,,,,,", "station", "there is no unit"),
        ("X-1,LMP,n1,camera,ก,13.7,100.5,,,,,,,", "station", "is a division, not a station"),
        ("X-1,LMP,dusit,camera,ก,13.7,100.5,,,,,,,", "station", "does not lie in"),
        ("X-1,LMP,lumpini,drone,ก,13.7,100.5,,,,,,,", "kind", "is none of camera"),
        ("X-1,LMP,lumpini,camera,,13.7,100.5,,,,,,,", "label_th", "must not be empty"),
        (f"X-1,LMP,lumpini,camera,{'ก' * 201},13.7,100.5,,,,,,,", "label_th", "201 characters"),
        ('X-1,LMP,lumpini,camera,"ก\x00",13.7,100.5,,,,,,,', "label_th", "control character"),
        ("X-1,LMP,lumpini,camera,ก,-90.1,100.5,,,,,,,", "lat", "no number from -90 to 90"),
        ("X-1,LMP,lumpini,camera,ก,13.7,180.5,,,,,,,", "lon", "no number from -180 to 180"),
        ("X-1,LMP,lumpini,camera,ก,nan,100.5,,,,,,,", "lat", "no number"),
        ("X-1,LMP,lumpini,camera,ก,๑๓.๗,100.5,,,,,,,", "lat", "no number"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,SSZ-9999,cam-9,,,,,", "node_serial", "there is no node"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0001,,,,,,", "channel", "go together"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0001,Cam 1,,,,,", "channel", "not a channel name"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0001,cam-1,,,,,", "channel", "serves another position"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,lit,,,,", "functions", "cannot have lit"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,recording,,,,", "functions", "must have live"),
        ("X-1,LMP,lumpini,sensor,ก,13.7,100.5,,,,cctv,,,", "innovation_type", "carries no innovation type"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,2571-09-30,,", "warranty_until", "write the CE year, 2028"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,2027-02-29,,", "warranty_until", "not in the calendar"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,30/09/2027,,", "warranty_until", "no date"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,๒๕๗๑-๐๙-๓๐,,", "warranty_until", "no date"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,,2569-11-24T08:00,", "commissioned_at", "write the CE year, 2026"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,,2026-11-24T25:00,", "commissioned_at", "no time"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,,,0", "supervision_s", "no number from 0.1"),
        ("X-1,LMP,lumpini,camera,ก,13.7,100.5,,,,,,,,extra", "", "15 cells"),
        ("LMP-P12-CAM-A,LMP,lumpini,sensor,ก,13.7,100.5,,,,,,,", "kind", "is a camera"),
        ("LMP-P12-CAM-A,LMP,lumpini,camera,ก,13.7,100.5,,,,,,2026-11-02,", "commissioned_at", "another moment"),
    ],
)
def test_each_fault_is_named(filled: Any, row: str, column: str, says: str) -> None:
    report = filled.load("positions", HEAD + row + "\n")
    assert [(e.row, e.column) for e in report.errors] == [(2, column)], report.errors
    assert says in report.errors[0].message


def test_all_faults_of_a_row_at_once(filled: Any) -> None:
    report = filled.load("positions", HEAD + "X 1,LMP,lumpini,drone,,91,200,,,,,,,\n")
    assert {e.column for e in report.errors} == {"code", "kind", "label_th", "lat", "lon"}


def test_same_key_twice_in_a_file(filled: Any) -> None:
    report = filled.load("positions", HEAD + GOOD + GOOD)
    assert [(e.row, e.message) for e in report.errors] == [(3, "says the same thing as row 2: each may appear once")]


def test_one_channel_for_two_positions(filled: Any) -> None:
    one = "X-1,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0002,cam-1,,,,,\n"
    report = filled.load("positions", HEAD + one + one.replace("X-1", "X-2"))
    assert [(e.row, e.column) for e in report.errors] == [(3, "channel")]
    assert "'X-1' too" in report.errors[0].message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "heading lacks code"),
        ("code,zone\n", "heading lacks station"),
        ("\x89PNG\r\n", "heading lacks"),
        (HEAD.replace("functions", "funktions"), "do not have: funktions"),
        (HEAD.replace("functions", "lat"), "names twice: lat"),
        (HEAD + 'X-1,"LMP', "not CSV"),
    ],
)
def test_what_is_no_such_file(filled: Any, text: str, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        filled.load("positions", text)


def test_byte_order_mark_blank_lines_and_short_rows_are_forgiven(filled: Any) -> None:
    text = "\ufeff" + HEAD.upper() + "\r\n,,,\r\n" + "X-1,LMP,lumpini,camera,กล้อง,13.73,100.54\r\n"
    report = filled.load("positions", text)
    assert (report.rows, report.created, report.errors) == (1, 1, [])


def test_faults_are_bounded_and_rows_count_as_a_spreadsheet_shows(filled: Any) -> None:
    report = filled.load("positions", HEAD + "\n" + "bad row,,,,,,,,,,,,,\n" * 1000)
    assert report.errors[0].row == 3
    assert len(report.errors) == 200
    assert report.rows == 1000


def test_odd_things_are_warnings(filled: Any) -> None:
    large = filled.load("zones", "code,name_th,lead_station,area_km2\nBIG,ใหญ่,lumpini,2.5\n")
    assert (large.created, [w.column for w in large.warnings]) == (1, ["area_km2"])
    swapped = filled.load("positions", HEAD + "X-1,LMP,lumpini,camera,ก,50.54,13.73,,,,,,,\n")
    assert (swapped.created, "swapped" in swapped.warnings[0].message) == (1, True)


def test_update_changes_what_the_file_says_and_no_more(filled: Any, registry: Registry) -> None:
    text = "code,zone,station,kind,label_th,lat,lon,supervision_s\nLMP-P12-CAM-A,LMP,lumpini,camera,ชื่อใหม่,13.7,100.5,30\n"
    report = filled.load("positions", text)
    assert (report.created, report.updated) == (0, 1)
    camera = registry.position("LMP-P12-CAM-A", Scope.ALL)
    assert (camera.label_th, camera.label_en, camera.owner, camera.supervision_ms) == ("ชื่อใหม่", "Camera A", "กทม.", 30_000)
    assert camera.commissioned_at_ms is not None


def test_swap_of_hardware_keeps_history(filled: Any, registry: Registry, clock: Any) -> None:
    camera = registry.position("LMP-P12-CAM-A", Scope.ALL)
    clock.advance(3_600_000)
    swap_ms = clock.now_ms()
    report = filled.load("positions", HEAD + "LMP-P12-CAM-A,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0002,cam-1,,,,,\n")
    assert (report.updated, report.errors) == (1, [])
    old, new = registry.directory().installations(camera.id)
    assert (old.channel, old.to_ms, new.from_ms, new.to_ms) == (Channel("cam-1"), swap_ms, swap_ms, None)
    assert registry.directory().position_at(old.node, Channel("cam-1"), swap_ms - 1) is not None
    assert registry.directory().position_at(old.node, Channel("cam-1"), swap_ms) is None
    assert registry.position("LMP-P12-CAM-A", Scope.ALL).commissioned_at_ms == camera.commissioned_at_ms


def test_two_positions_trade_places_in_one_file(filled: Any, registry: Registry, clock: Any) -> None:
    head = "code,zone,station,kind,label_th,lat,lon,node_serial,channel\n"
    filled.load("positions", head + "A,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0002,a\nB,LMP,lumpini,camera,ข,13.7,100.5,SSZ-0002,b\n")
    clock.advance(1000)
    report = filled.load("positions", head + "A,LMP,lumpini,camera,ก,13.7,100.5,SSZ-0002,b\nB,LMP,lumpini,camera,ข,13.7,100.5,SSZ-0002,a\n")
    assert (report.updated, report.errors) == (2, [])
    node = registry.node("SSZ-0002", Scope.ALL).id
    served = registry.directory().position_at(node, Channel("a"), clock.now_ms())
    assert served is not None
    assert served.code == "B"


def test_empty_node_serial_leaves_hardware(filled: Any, registry: Registry) -> None:
    camera = registry.position("LMP-P12-CAM-A", Scope.ALL)
    filled.load("positions", HEAD + "LMP-P12-CAM-A,LMP,lumpini,camera,ก,13.7,100.5,,,,,,,\n")
    assert len(registry.directory().installations(camera.id)) == 1
    assert registry.directory().installations(camera.id)[0].to_ms is None


def test_mark_as_simulated_is_for_ever(filled: Any, registry: Registry) -> None:
    report = filled.load("nodes", "serial,unit,is_simulated\nSSZ-0002,dusit,false\n")
    assert (report.updated, [w.column for w in report.warnings]) == (1, ["is_simulated"])
    node = registry.node("SSZ-0002", Scope.ALL)
    assert (node.is_simulated, node.unit_path) == (True, "/bpp/n1/dusit/")


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("x,nowhere,station,ก", "parent", "no unit 'nowhere'"),
        ("x,lumpini,station,ก", "level", "cannot be below the station"),
        ("X,bpp,station,ก", "code", "lower case"),
        ("x,bpp,village,ก", "level", "is none of hq"),
        ("x,bpp,hq,ก", "parent", "has no parent"),
    ],
)
def test_faults_of_units(filled: Any, text: str, column: str, says: str) -> None:
    report = filled.load("units", f"code,parent,level,name_th\n{text}\n")
    assert [(e.row, e.column) for e in report.errors] == [(2, column)], report.errors
    assert says in report.errors[0].message


def test_children_may_come_before_parents_and_loops_end(filled: Any, registry: Registry) -> None:
    head = "code,parent,level,name_th\n"
    report = filled.load("units", head + "s9,d9,station,ส\nd9,c9,division,ด\nc9,,command,ค\n")
    assert (report.created, report.errors) == (3, [])
    assert "/c9/d9/s9/" in [unit.path for unit in registry.units(Scope.ALL)]
    loop = filled.load("units", head + "p,q,division,ก\nq,p,division,ข\n")
    assert [e.row for e in loop.errors] == [2, 3]


def test_code_that_two_units_have_needs_the_path(filled: Any) -> None:
    filled.load("units", "code,parent,level,name_th\nc9,,command,ค\nlumpini,c9,station,อีกแห่ง\n")
    assert "give the path" in filled.load("nodes", "serial,unit\nN,lumpini\n").errors[0].message
    assert filled.load("nodes", "serial,unit\nN,/c9/lumpini/\n").created == 1


def test_serial_that_no_certificate_carries(filled: Any) -> None:
    (fault,) = filled.load("nodes", "serial,unit\nSSZ_0003,dusit\n").errors
    assert (fault.row, fault.column) == (2, "serial")
    assert "no serial number" in fault.message


@given(st.text(st.sampled_from("aZ09._- é\n"), max_size=4) | st.just("A" * 64) | st.just("A" * 65))
def test_serials_are_those_that_certificates_carry(text: str) -> None:
    def takes(read: Callable[[str], str], refusal: type[Exception]) -> bool:
        try:
            return read(text) == text
        except refusal:
            return False

    assert takes(serial_text, ValueError) == takes(parse_serial, errors.Rejected)


def test_headquarters_is_the_root(filled: Any, registry: Registry) -> None:
    assert filled.load("units", "code,parent,level,name_th\nrtp,,hq,ตร.\n").created == 1
    assert registry.units(Scope.ALL)[0].path == "/"
    assert filled.load("units", "code,parent,level,name_th\nx1,rtp,command,ก\n").created == 1
    assert "/x1/" in [unit.path for unit in registry.units(Scope.ALL)]


class TestScope:
    def test_other_units_do_not_exist(self, filled: Any) -> None:
        for kind, text, column in (
            ("nodes", "serial,unit\nN-1,dusit\n", "unit"),
            ("zones", "code,name_th,lead_station\nD,ด,dusit\n", "lead_station"),
            ("units", "code,parent,level,name_th\nnew,n1,station,ก\n", "parent"),
        ):
            report = filled.load(kind, text, scope=STATION)
            assert [e.column for e in report.errors] == [column], kind

    def test_things_of_other_units_cannot_be_taken(self, filled: Any) -> None:
        dusit = Scope("/bpp/n1/dusit/")
        assert "taken" in filled.load("nodes", "serial,unit\nSSZ-0001,dusit\n", scope=dusit).errors[0].message
        assert "taken" in filled.load("zones", "code,name_th,lead_station\nLMP,ก,dusit\n", scope=dusit).errors[0].message

    def test_own_station_may_import(self, filled: Any) -> None:
        assert filled.load("positions", HEAD + GOOD, scope=STATION).created == 1


def test_import_is_audited_once(filled: Any, database: Database) -> None:
    with database.read() as connection:
        acts = audit.entries(connection, scope=Scope.ALL)
    assert [(act.action, act.subject, act.actor) for act in acts] == [
        ("registry.import", kind, "tester") for kind in ("positions", "nodes", "zones", "units")
    ]
    assert acts[0].data["created"] == 3

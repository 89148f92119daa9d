"""Every query of the board, its variable and its alert rule, on a real InfluxDB that the server's own writer has filled."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from fleet_server.telemetry.influx_setup import InfluxSetup
from grafana.build import FOLDER
from grafana.smoke.questions import seconds
from tests.integration.grafana.backend import DataSource, Series, Span, expand, interval_of
from tests.integration.grafana.station import LUMPINI, MINUTES, NODE, OTHER, Station
from tests.servers.influxdb import Influx, InfluxServer

BOARD = json.loads((FOLDER / "boards" / "station.json").read_text())
PANELS = {panel["title"].partition(" · ")[2]: panel for panel in BOARD["panels"]}
PROVISIONED = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"][0]
(RULE,) = yaml.safe_load((FOLDER / "provisioning" / "alerting" / "fleet-server.yaml").read_text())["groups"][0]["rules"]


class Filled(NamedTuple):
    source: DataSource
    span: Span
    """From half an hour ago to the newest row."""
    full_minute_ms: int
    """The newest full minute when filling began."""


@pytest.fixture(scope="module")
def filled(influxdb_server: InfluxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    influx = influxdb_server.create()
    try:
        with Station(influx, tmp_path_factory.mktemp("station")) as station:
            station.fill()
        with InfluxSetup(influx.url, org=influx.org, operator_token=influxdb_server.operator_token) as setup:
            setup.prepare()
            source = DataSource(influx.url, PROVISIONED, setup.new_token("grafana", may_write=False))
        yield Filled(source, Span(station.end_ms - MINUTES * 60_000, station.filled_at_ms), station.end_ms)
        source.close()
    finally:
        influxdb_server.remove(influx)


def ask(filled: Filled, title: str, *, station: str = LUMPINI) -> list[Series]:
    """Return what a panel's one query gives."""
    panel = PANELS[title]
    (target,) = panel["targets"]
    span = filled.span
    if "timeFrom" in panel:
        span = Span(span.to_ms - seconds(panel["timeFrom"]) * 1000, span.to_ms)
    query = expand(target["query"], span, interval_s=interval_of(panel, span), variables={"station": station})
    return filled.source.ask(query)


class Line(NamedTuple):
    """What a panel of lines must give: the series' tag, its values, and what stands in the newest row of one of them."""

    tag: str
    values: set[str]
    fields: dict[str, Any]
    """By column; of each series."""


LINES = {
    "Working now": Line("kind", {"camera", "panic_button", "street_light", "sensor"}, {}),
    "State by position": Line("position", {"CAM-A", "CAM-B", "BTN-1", "LMP-1", "AIR-1"}, {}),
    "Camera pictures per second": Line("position", {"CAM-A"}, {"mean": 15.0}),
    "Camera data rate": Line("position", {"CAM-A"}, {"mean": 812.5}),
    "Lamp power": Line("position", {"LMP-1"}, {"mean": 61.5}),
    "Uptime of the last closed hour": Line("kind", {"camera", "panic_button", "street_light", "sensor"}, {"last": 3_000 / 3_600}),
    "Node load": Line("node", {NODE}, {"หน่วยประมวลผล · CPU": 3.0, "หน่วยความจำ · memory": 41.0}),
    "Node temperature": Line("node", {NODE}, {"อุณหภูมิ · temperature": 55.5}),
    "Waiting on nodes": Line("node", {NODE}, {"ข้อความสถานะ · heartbeats": 2, "เหตุการณ์ · events": 1}),
    "Clock offset": Line("node", {NODE}, {"คลาดเคลื่อน · offset": 0.7}),
}
OTHERS = {"Not working", "Presses", "Coverage of evidence", "How the hours were spent"}


def test_every_panel_is_asked_here() -> None:
    assert set(PANELS) == set(LINES) | OTHERS


@pytest.mark.parametrize("title", LINES)
def test_lines_have_their_series_and_values(filled: Filled, title: str) -> None:
    found = ask(filled, title)
    assert {series.tags[LINES[title].tag] for series in found} == LINES[title].values
    assert all(set(series.tags) == {LINES[title].tag} for series in found), "the alias names one tag"
    for series in found:
        assert series.columns[0] == "time"
        for column, expected in LINES[title].fields.items():
            values = [value for value in series.column(column) if value is not None]
            assert values, f"{column} of {series.tags} is empty"
            assert values[-1] == pytest.approx(expected)


def test_share_of_cameras_that_work_is_a_half(filled: Filled) -> None:
    found = {series.tags["kind"]: series.column("share") for series in ask(filled, "Working now")}
    assert found == {"camera": [50], "panic_button": [100], "street_light": [100], "sensor": [0]}


def test_nothing_is_shown_as_now_when_the_server_is_silent(filled: Filled) -> None:
    later = filled._replace(span=Span(filled.span.from_ms, filled.span.to_ms + 600_000))
    assert ask(later, "Working now") == []
    assert ask(later, "Not working") == []


def test_table_of_what_does_not_work_says_how_long_ago_it_was_seen(filled: Filled) -> None:
    (table,) = ask(filled, "Not working")
    assert table.tags == {}, "tags are columns: Grafana would put several of them in any order"
    assert table.columns == ["time", "position", "kind", "zone", "state", "age_s"]
    rows = {row[1]: row[2:] for row in table.rows}
    assert rows["AIR-1"] == ["sensor", "LMP", 3, None]
    assert rows["CAM-B"][:3] == ["camera", "LMP", 2]
    assert rows["CAM-B"][3] >= 600
    assert set(rows) == {"AIR-1", "CAM-B"}


def test_timeline_shows_states_and_its_gap(filled: Filled) -> None:
    states = {series.tags["position"]: series.column("last") for series in ask(filled, "State by position")}
    assert set(states["CAM-A"]) == {0, None}
    assert states["CAM-B"].index(2) == pytest.approx(11, abs=1), "it failed after ten minutes"
    assert set(states["CAM-B"]) == {0, 2, None}
    silent = [minute for minute, state in enumerate(states["CAM-A"][:MINUTES]) if state is None]
    assert silent == [MINUTES - 5, MINUTES - 4], "where the server wrote nothing there is a gap, and only there"


def test_presses_are_listed_newest_first_with_their_hops(filled: Filled) -> None:
    (table,) = ask(filled, "Presses")
    assert table.columns == ["time", "position", "drill", "late", "node_ms", "link_ms", "event_id"]
    assert [row[1:-1] for row in table.rows] == [
        ["BTN-1", False, True, 10, None],
        ["BTN-1", False, False, 4, 46],
        ["BTN-1", True, False, 6, 44],
    ]
    assert [row[-1][-2:] for row in table.rows] == [":3", ":1", ":2"]


def _two_hours(filled: Filled) -> Filled:
    return filled._replace(span=Span(filled.span.from_ms - 3 * 3_600_000, filled.span.to_ms))


def test_coverage_is_by_position_and_function(filled: Filled) -> None:
    found = {
        (series.tags["position"], series.tags["function"]): series.column("coverage")
        for series in ask(_two_hours(filled), "Coverage of evidence")
    }
    assert set(found) == {("CAM-A", "live"), ("CAM-B", "live"), ("BTN-1", "press"), ("LMP-1", "lit"), ("AIR-1", "reading")}
    assert all(values == pytest.approx([3_400 / 3_600] * 2) for values in found.values())


def test_parts_of_the_hours_add_up(filled: Filled) -> None:
    (table,) = ask(_two_hours(filled), "How the hours were spent")
    assert {row[1] for row in table.rows} == {"CAM-A", "CAM-B", "BTN-1", "LMP-1", "AIR-1"}
    for row in table.rows:
        parts = dict(zip(table.columns[3:], row[3:], strict=True))
        assert parts.pop("commissioned") == 2 * 3_600_000
        assert parts.pop("replayed") == 200_000
        assert sum(parts.values()) == 2 * 3_600_000


@pytest.mark.parametrize("title", PANELS)
def test_another_station_is_never_mixed_in(filled: Filled, title: str) -> None:
    found = ask(_two_hours(filled), title, station=OTHER)
    shown = json.dumps([[series.tags, series.rows] for series in found])
    assert not any(f'"{code}"' in shown for code in ("CAM-A", "CAM-B", "BTN-1", "LMP-1", "AIR-1", NODE))


@pytest.mark.parametrize("station", ["bpp.n1.lumpin.", "bpp.*", "bpp-n1.lumpini", "bpp.n1.lumpini|x", "a/b"])
def test_pattern_in_a_station_is_no_pattern(filled: Filled, station: str) -> None:
    assert ask(filled, "State by position", station=station) == []


def test_variable_lists_the_stations(filled: Filled) -> None:
    (variable,) = BOARD["templating"]["list"]
    (found,) = filled.source.ask(expand(variable["query"], filled.span))
    assert found.column("value") == [LUMPINI, OTHER]


# ---- the alert rule -------------------------------------------------------------------------------------------------


def state_of_rule(source: DataSource, now_ms: int) -> str:
    """Evaluate query → reduce → threshold as Grafana does, at an instant."""
    parts = {part["refId"]: part for part in RULE["data"]}
    query, reduce, threshold = parts["A"], parts["B"]["model"], parts["C"]["model"]
    assert (reduce["expression"], threshold["expression"], RULE["condition"]) == ("A", "B", "C")
    seconds_ago = query["relativeTimeRange"]
    span = Span(now_ms - seconds_ago["from"] * 1000, now_ms - seconds_ago["to"] * 1000)
    found = source.ask(expand(query["model"]["query"], span))
    if not found:
        return str(RULE["noDataState"])
    assert (reduce["type"], reduce["reducer"], threshold["type"]) == ("reduce", "last", "threshold")
    (series,) = found
    (condition,) = threshold["conditions"]
    assert condition["evaluator"]["type"] == "lt"
    return "Alerting" if series.rows[-1][1] < condition["evaluator"]["params"][0] else "Normal"


def test_server_that_writes_is_no_alarm(filled: Filled) -> None:
    assert state_of_rule(filled.source, filled.full_minute_ms) == "Normal"


def test_server_that_fell_silent_is_an_alarm_within_five_minutes(filled: Filled) -> None:
    assert state_of_rule(filled.source, filled.span.to_ms + 6 * 60_000) == "Alerting"


def test_server_that_never_wrote_is_an_alarm(influxdb: Influx) -> None:
    source = DataSource(influxdb.url, PROVISIONED, influxdb.token)
    assert state_of_rule(source, 1_795_485_600_000) == "Alerting"
    source.close()


def test_files_are_where_grafana_is_told_to_look() -> None:
    provider = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "fleet.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/boards"
    assert Path(FOLDER / "boards" / "station.json").is_file()

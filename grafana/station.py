"""The board of one station: what works now, what does not and since when, what was pressed, what was measured."""

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, GraphDrawStyle, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataTransformerConfig,
    GridPos,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

from grafana import descriptions
from grafana.influxql import InfluxQL, ResultFormat, data_source, select
from grafana.words import KINDS, flag_mapping, function_mapping, kind_mapping, shown_as, state_mapping

UID: Final = "fleet-station"
TITLE: Final = "สถานี · Station"

_HERE: Final = '"station" =~ /^${station:regex}$/ AND $timeFilter'
_FRESH: Final = "3m"
"""Rows of "now" come once a minute; older ones are not shown as now."""

PanelBuilder = Builder[Panel]


def station_board() -> Dashboard:
    """Return the board."""
    board = (
        dashboard.Dashboard(TITLE)
        .uid(UID)
        .description(descriptions.BOARD)
        .tags(["smart-safety-zone"])
        .timezone("Asia/Bangkok")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timepicker(dashboard.TimePicker().refresh_intervals(["10s", "30s", "1m", "5m", "15m"]))
        .with_variable(_station_variable())
    )
    for number, (panel, place) in enumerate(_placed(), start=1):
        built = panel.build()
        built.id_val, built.grid_pos, built.datasource = number, place, data_source()
        board.with_panel(_Ready(built))
    return board.build()


class _Ready(Builder[Panel]):
    """A panel that is built already."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def build(self) -> Panel:
        return self._panel


def _placed() -> list[tuple[PanelBuilder, GridPos]]:
    return [
        (_working_now(), GridPos(h=7, w=10, x=0, y=0)),
        (_not_working(), GridPos(h=7, w=14, x=10, y=0)),
        (_timeline(), GridPos(h=11, w=24, x=0, y=7)),
        (_presses(), GridPos(h=8, w=24, x=0, y=18)),
        (_metric("camera", "fps", "ภาพต่อวินาที · Camera pictures per second", "suffix: fps", descriptions.FPS), GridPos(h=8, w=8, x=0, y=26)),
        (_metric("camera", "kbps", "อัตราข้อมูลกล้อง · Camera data rate", "Kbits", descriptions.KBPS), GridPos(h=8, w=8, x=8, y=26)),
        (_metric("street_light", "power_w", "กำลังไฟโคม · Lamp power", "watt", descriptions.POWER), GridPos(h=8, w=8, x=16, y=26)),
        (_uptime(), GridPos(h=8, w=12, x=0, y=34)),
        (_coverage(), GridPos(h=8, w=12, x=12, y=34)),
        (_hours(), GridPos(h=10, w=24, x=0, y=42)),
        (_node("โหลดของโหนด · Node load", "percent", descriptions.LOAD, _LOAD), GridPos(h=8, w=6, x=0, y=52)),
        (_node("อุณหภูมิโหนด · Node temperature", "celsius", descriptions.HEAT, _HEAT), GridPos(h=8, w=6, x=6, y=52)),
        (_node("รอส่งบนโหนด · Waiting on nodes", "short", descriptions.HELD, _HELD), GridPos(h=8, w=6, x=12, y=52)),
        (_node("นาฬิกาคลาดเคลื่อน · Clock offset", "ms", descriptions.OFFSET, _OFFSET), GridPos(h=8, w=6, x=18, y=52)),
    ]


def _station_variable() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("station")
        .label("สถานี · Station")
        .description(descriptions.STATION)
        .datasource(data_source())
        .query('SHOW TAG VALUES FROM "hot"."station_state" WITH KEY = "station"')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(False)
        .include_all(False)
    )


def _working_now() -> PanelBuilder:
    newest = select('last("working") AS "working", last("total") AS "total"', '"hot"."station_state"', where=_HERE, group_by='"kind"')
    query = select('100 * "working" / "total" AS "share"', f"({newest})", group_by='"kind"')
    panel = (
        stat.Panel()
        .title("ทำงานอยู่ตอนนี้ · Working now")
        .description(descriptions.WORKING_NOW)
        .time_from(_FRESH)
        .with_target(InfluxQL(query, alias="$tag_kind"))
        .unit("percent")
        .decimals(1)  # whole percents would show 99.6 as 100
        .min(0)
        .max(100)
        .no_value("ไม่มีข้อมูล · no data")
        .thresholds(_steps((None, "#c4272c"), (80, "#e0a23c"), (100, "#6d7671")))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for kind, word in KINDS.items():
        panel.override_by_name(kind, shown_as(word))
    return panel


def _not_working() -> PanelBuilder:
    newest = select(
        'last("state") AS "state", last("age_s") AS "age_s"',
        '"hot"."position_state"',
        where=_HERE,
        group_by='"position", "kind", "zone"',
    )
    query = select('"position", "kind", "zone", "state", "age_s"', f"({newest})", where='"state" > 0')
    return (
        table.Panel()
        .title("ไม่ทำงาน · Not working")
        .description(descriptions.NOT_WORKING)
        .time_from(_FRESH)
        .with_target(InfluxQL(query, result_format=ResultFormat.TABLE))
        .with_transformation(_hide("Time"))
        .no_value("ทุกจุดทำงาน · all positions work")
        .unit("none")
        .override_by_name("position", shown_as("จุด · Position"))
        .override_by_name("kind", shown_as("ชนิด · Kind", mappings=[kind_mapping()]))
        .override_by_name("zone", shown_as("โซน · Zone", width=110))
        .override_by_name("state", shown_as("สถานะ · State", mappings=[state_mapping()], custom__cellOptions={"type": "color-text"}))
        .override_by_name("age_s", shown_as("เห็นล่าสุด · Last seen ago", unit="dtdurations", noValue="ไม่เคย · never"))
        .sort_by([common.TableSortByFieldState().display_name("เห็นล่าสุด · Last seen ago").desc(True)])
    )


def _timeline() -> PanelBuilder:
    query = select('last("state")', '"hot"."position_state"', where=_HERE, group_by='time($__interval), "position" fill(null)')
    return (
        statetimeline.Panel()
        .title("สถานะตามเวลา · State by position")
        .description(descriptions.TIMELINE)
        .interval("1m")
        .with_target(InfluxQL(query, alias="$tag_position"))
        .unit("none")
        .mappings([state_mapping()])
        .span_nulls(False)
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(True))
    )


def _presses() -> PanelBuilder:
    query = select(
        '"position", "drill", "late", "node_ms", "link_ms", "event_id"',
        '"events"."event"',
        where=f"\"type\" = 'press' AND {_HERE}",
        rest="ORDER BY time DESC LIMIT 200",
    )
    return (
        table.Panel()
        .title("การกดปุ่ม · Presses")
        .description(descriptions.PRESSES)
        .with_target(InfluxQL(query, result_format=ResultFormat.TABLE))
        .no_value("ไม่มีการกดปุ่ม · no presses")
        .unit("none")
        .override_by_name("Time", shown_as("เวลา · Time", width=190))
        .override_by_name("position", shown_as("จุด · Position"))
        .override_by_name("drill", shown_as("ทดสอบ · Drill", width=140, mappings=[flag_mapping("ทดสอบ · drill", "จริง · real")]))
        .override_by_name("late", shown_as("ส่งช้า · Late", width=170, mappings=[flag_mapping("ส่งย้อนหลัง · replayed", "ทันที · live")]))
        .override_by_name("node_ms", shown_as("บนโหนด · On the node", unit="ms"))
        .override_by_name("link_ms", shown_as("ถึงเซิร์ฟเวอร์ · To the server", unit="ms", noValue="ไม่ทราบ · unknown"))
        .override_by_name("event_id", shown_as("รหัส · Event"))
    )


def _metric(kind: str, field: str, title: str, unit: str, description: str) -> PanelBuilder:
    query = select(
        f'mean("{field}")',
        '"hot"."heartbeat"',
        where=f"\"kind\" = '{kind}' AND {_HERE}",
        group_by='time($__interval), "position" fill(null)',
    )
    # Samples come about once a minute, so a line may span two minutes without one.
    return _lines(title, description, unit).interval("1m").span_nulls(150_000).with_target(InfluxQL(query, alias="$tag_position")).min(0)


def _uptime() -> PanelBuilder:
    query = select('last("uptime_1h")', '"cold"."station_state"', where=_HERE, group_by='time($__interval), "kind" fill(null)')
    panel = (
        _lines(
            "เวลาทำงานรายชั่วโมง · Uptime of the last closed hour",
            descriptions.UPTIME,
            "percentunit",
        )
        .interval("10m")
        .span_nulls(False)
        .with_target(InfluxQL(query, alias="$tag_kind"))
        .min(0)
        .max(1)
    )
    for kind, word in KINDS.items():
        panel.override_by_name(kind, shown_as(word))
    return panel


def _coverage() -> PanelBuilder:
    query = select('"coverage"', '"cold"."uptime_1h"', where=_HERE, group_by='"position", "function"')
    return (
        _lines(
            "ความครอบคลุมของหลักฐาน · Coverage of evidence",
            descriptions.COVERAGE,
            "percentunit",
        )
        .draw_style(GraphDrawStyle.POINTS)
        .show_points(VisibilityMode.ALWAYS)
        .with_target(InfluxQL(query, alias="$tag_position $tag_function"))
        .min(0)
        .max(1)
    )


_PARTS: Final = (
    ("commissioned", "ติดตั้งแล้ว · Commissioned"),
    ("working", "ทำงาน · Working"),
    ("degraded", "ไม่สมบูรณ์ · Degraded"),
    ("failed", "ขัดข้อง · Failed"),
    ("unknown", "ไม่ทราบ · Unknown"),
    ("maintenance", "บำรุงรักษา · Maintenance"),
    ("excused", "ยกเว้น · Excused"),
    ("replayed", "พิสูจน์ย้อนหลัง · By replay"),
)


def _hours() -> PanelBuilder:
    sums = ", ".join(f'sum("{part}_ms") AS "{part}"' for part, _ in _PARTS)
    summed = select(sums, '"cold"."uptime_1h"', where=_HERE, group_by='"position", "function"')
    columns = ", ".join(f'"{part}"' for part, _ in _PARTS)
    panel = (
        table.Panel()
        .title("เวลาแต่ละสถานะ · How the hours were spent")
        .description(descriptions.HOURS)
        .with_target(InfluxQL(select(f'"position", "function", {columns}', f"({summed})"), result_format=ResultFormat.TABLE))
        .with_transformation(_hide("Time"))
        .no_value("ยังไม่มีชั่วโมงที่ปิด · no closed hour yet")
        .unit("dtdurationms")
        .override_by_name("position", shown_as("จุด · Position", unit="none"))
        .override_by_name("function", shown_as("หน้าที่ · Function", unit="none", mappings=[function_mapping()]))
        .sort_by([common.TableSortByFieldState().display_name("จุด · Position").desc(False)])
    )
    for part, word in _PARTS:
        panel.override_by_name(part, shown_as(word))
    return panel


_LOAD: Final = {"cpu_percent": "หน่วยประมวลผล · CPU", "memory_percent": "หน่วยความจำ · memory"}
_HEAT: Final = {"temperature_c": "อุณหภูมิ · temperature"}
_HELD: Final = {"outbox_heartbeats": "ข้อความสถานะ · heartbeats", "outbox_events": "เหตุการณ์ · events"}
_OFFSET: Final = {"clock_offset_ms": "คลาดเคลื่อน · offset"}


def _node(title: str, unit: str, description: str, fields: Mapping[str, str]) -> PanelBuilder:
    """Draw the means of `fields`, which are given with the word for each."""
    means = ", ".join(f'mean("{field}") AS "{word}"' for field, word in fields.items())
    query = select(means, '"hot"."node_health"', where=_HERE, group_by='time($__interval), "node" fill(null)')
    alias = "$col $tag_node" if len(fields) > 1 else "$tag_node"
    return _lines(title, description, unit).interval("1m").span_nulls(150_000).with_target(InfluxQL(query, alias=alias))


def _lines(title: str, description: str, unit: str) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .line_width(1)
        .fill_opacity(0)
        .legend(common.VizLegendOptions().show_legend(True))
    )


def _steps(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value, colour) for value, colour in steps])


def _hide(*columns: str) -> DataTransformerConfig:
    return DataTransformerConfig("organize", options={"excludeByName": dict.fromkeys(columns, True), "indexByName": {}, "renameByName": {}})

"""The words and colours of the boards: Thai first, English beside it; the console's vocabulary and its muted palette."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, ValueMap, ValueMappingResult


class StateWord(NamedTuple):
    """How one value of the field `state` is shown: never by colour alone."""

    number: int
    text: str
    colour: str


STATES: Final = (
    StateWord(0, "ทำงาน · working", "#6d7671"),
    StateWord(1, "ทำงานไม่สมบูรณ์ · degraded", "#e0a23c"),
    StateWord(2, "ขัดข้อง · failed", "#c4272c"),
    StateWord(3, "ไม่ทราบสถานะ · unknown", "#c9c4b8"),
    StateWord(4, "บำรุงรักษา · maintenance", "#4f6a9a"),
    StateWord(5, "เหตุยกเว้น · excused", "#8a7f9c"),
)
"""Saturated colour is spent on what needs a human. `working` and `unknown` differ in lightness too."""

KINDS: Final = MappingProxyType(
    {
        "camera": "กล้อง · Cameras",
        "panic_button": "ปุ่มฉุกเฉิน · Panic buttons",
        "street_light": "ไฟส่องสว่าง · Street lights",
        "sensor": "เซนเซอร์ · Sensors",
    }
)
FUNCTIONS: Final = MappingProxyType(
    {
        "live": "ภาพสด · live picture",
        "recording": "การบันทึกภาพ · recording",
        "press": "การเรียกขอความช่วยเหลือ · calling for help",
        "lit": "การส่องสว่าง · lighting",
        "reading": "การอ่านค่า · reading",
        "all": "ทุกหน้าที่ · all together",
    }
)
"""`all` is how the server marks the row of a position whose functions are taken together."""


def state_mapping() -> ValueMap:
    """Return the mapping of `state` to word and colour."""
    return ValueMap({str(s.number): ValueMappingResult(text=s.text, color=s.colour, index=i) for i, s in enumerate(STATES)})


def kind_mapping() -> ValueMap:
    """Return the mapping of the tag `kind` to its word."""
    return _words(KINDS)


def function_mapping() -> ValueMap:
    """Return the mapping of the tag `function` to its word."""
    return _words(FUNCTIONS)


def flag_mapping(yes: str, no: str) -> ValueMap:
    """Return the mapping of a boolean."""
    return ValueMap({"true": ValueMappingResult(text=yes, index=0), "false": ValueMappingResult(text=no, index=1)})


def shown_as(name: str, *, unit: str = "", width: int = 0, **more: object) -> list[DynamicConfigValue]:
    """Return a column's properties: its heading, unit and width in pixels; `more` are properties by their id, `__` for a dot."""
    properties = [DynamicConfigValue("displayName", name)]
    if unit:
        properties.append(DynamicConfigValue("unit", unit))
    if width:
        properties.append(DynamicConfigValue("custom.width", width))
    return properties + [DynamicConfigValue(key.replace("__", "."), value) for key, value in more.items()]


def _words(words: Mapping[str, str]) -> ValueMap:
    return ValueMap({value: ValueMappingResult(text=word, index=i) for i, (value, word) in enumerate(words.items())})

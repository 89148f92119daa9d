"""The closed word lists of the wire. Server, console and documents use the same words."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """What a device is."""

    CAMERA = "camera"
    PANIC_BUTTON = "panic_button"
    STREET_LIGHT = "street_light"
    SENSOR = "sensor"


class Function(StrEnum):
    """What a position must do, judged separately."""

    LIVE = "live"
    RECORDING = "recording"
    PRESS = "press"
    LIT = "lit"
    READING = "reading"


class Verdict(StrEnum):
    """What one piece of evidence says of one function at one moment.

    `unknown` is positive too: the node looked and could not judge (a check was not possible).
    """

    WORKING = "working"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class ClockQuality(StrEnum):
    """How far the node's wall clock may be believed; only `ntp` and `rtc` are trusted."""

    NTP = "ntp"
    RTC = "rtc"
    HOLDOVER = "holdover"
    NONE = "none"

    @property
    def is_trusted(self) -> bool:
        """Whether evidence may be dated by this clock."""
        return self._value_ == "ntp" or self._value_ == "rtc"  # asked for each message: half the cost of looking members up


class Online(StrEnum):
    """What a birth or a will says."""

    ONLINE = "online"
    OFFLINE = "offline"


class EventType(StrEnum):
    """What happened at a device."""

    PRESS = "press"
    RELEASE = "release"
    STUCK = "stuck"
    STUCK_CLEARED = "stuck_cleared"
    FAULT = "fault"
    FAULT_CLEARED = "fault_cleared"
    TAMPER = "tamper"


class Action(StrEnum):
    """What a command asks of a channel."""

    LAMP_OVERRIDE = "lamp.override"
    DRILL_BEGIN = "drill.begin"
    DRILL_END = "drill.end"


class ResultStatus(StrEnum):
    """How a command ended. `succeeded` means that its effect was measured, not only that it was sent."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    REJECTED = "rejected"


FUNCTIONS: Final = MappingProxyType(
    {
        Kind.CAMERA: (Function.LIVE, Function.RECORDING),
        Kind.PANIC_BUTTON: (Function.PRESS,),
        Kind.STREET_LIGHT: (Function.LIT,),
        Kind.SENSOR: (Function.READING,),
    }
)
"""The functions a kind can have; the first is the one every position of the kind must do."""

METRICS: Final = MappingProxyType(
    {
        Kind.CAMERA: ("rtt_ms", "fps", "kbps", "luma"),
        Kind.PANIC_BUTTON: ("drill_age_s",),
        Kind.STREET_LIGHT: ("power_w", "voltage_v", "level_percent"),
        Kind.SENSOR: ("reading",),
    }
)
"""The numbers that evidence of a kind may carry; at most four, all floats, so that a stored series never changes its type."""

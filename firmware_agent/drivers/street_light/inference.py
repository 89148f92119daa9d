"""From relay and meter to what is wrong with a lamp. Pure.

The words are inspired by TALQ 2.7.1 (`lampFailure`, `lampUnexpectedOn`, `relayFailure`, `supplyLoss`, `lampPowerTooLow`…), in
snake case. A verdict is about the function *lit*: a lamp that burns by day gives light, so it is degraded, not failed.

Source: reference `edge.md` §3.3.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from firmware_agent.contract.vocabulary import Verdict


class Cause(StrEnum):
    """What is the matter with a lamp."""

    NONE = ""
    LAMP_FAILURE = "lamp_failure"
    LAMP_POWER_TOO_LOW = "lamp_power_too_low"
    LAMP_POWER_TOO_HIGH = "lamp_power_too_high"
    LAMP_UNEXPECTED_ON = "lamp_unexpected_on"
    RELAY_FAILURE = "relay_failure"
    CYCLING_FAILURE = "cycling_failure"
    """Lit and dark by turns at a fixed level: an ageing lamp or a loose contact."""
    SUPPLY_LOSS = "supply_loss"
    SUPPLY_VOLTAGE = "supply_voltage"
    """Outside 85 to 115 %: the lamp cannot be judged."""
    WARMING_UP = "warming_up"
    """Switched a moment ago: the lamp cannot be judged."""
    NOT_SEEN_LIT = "not_seen_lit"
    """Off by schedule, and nobody saw it lit lately."""
    IMPLAUSIBLE = "meter_implausible"
    UNREACHABLE = "unreachable"
    REFUSED = "modbus_exception"


class Finding(NamedTuple):
    """What one poll says."""

    verdict: Verdict
    cause: Cause


LIT: Final = Finding(Verdict.WORKING, Cause.NONE)


@dataclass(frozen=True)
class Lamp:
    """What a healthy lamp draws."""

    rated_w: float
    standby_w: float = 0.5
    rated_v: float = 230.0
    warm_up_s: float = 30.0

    def expected_w(self, level_percent: int) -> float:
        """Return the power at a level, watts (linear: these lamps are switched, not dimmed)."""
        return self.standby_w + (self.rated_w - self.standby_w) * level_percent / 100


@dataclass(frozen=True)
class Measured:
    """What relay and meter said in one poll."""

    coil: bool
    """The relay's read-back."""
    power_w: float
    voltage_v: float


def is_lit(lamp: Lamp, measured: Measured) -> bool:
    """Return whether the power proves light."""
    return measured.power_w >= max(3.0, 0.3 * lamp.expected_w(100))


def is_dark(lamp: Lamp, measured: Measured) -> bool:
    """Return whether the power proves darkness."""
    return measured.power_w <= max(5.0, 0.2 * lamp.rated_w)


def judge(lamp: Lamp, level_percent: int, measured: Measured, steady_ms: int) -> Finding | None:
    """Return what a poll says of a lamp that should be at `level_percent` for `steady_ms`; None: dark, as it should be.

    One bad finding may be a hiccup: the caller confirms it.
    """
    share = measured.voltage_v / lamp.rated_v
    if share < 0.2:
        return Finding(Verdict.FAILED, Cause.SUPPLY_LOSS)
    if not 0.85 <= share <= 1.15:
        return Finding(Verdict.UNKNOWN, Cause.SUPPLY_VOLTAGE)
    if level_percent == 0:
        return _judge_dark(lamp, measured)
    return _judge_lit(lamp, level_percent, measured, steady_ms)


def _judge_dark(lamp: Lamp, measured: Measured) -> Finding | None:
    if is_dark(lamp, measured):
        return None if not measured.coil else Finding(Verdict.FAILED, Cause.RELAY_FAILURE)
    return Finding(Verdict.DEGRADED, Cause.LAMP_UNEXPECTED_ON if measured.coil else Cause.RELAY_FAILURE)


def _judge_lit(lamp: Lamp, level_percent: int, measured: Measured, steady_ms: int) -> Finding:
    expected_w = lamp.expected_w(level_percent)
    share = measured.power_w / expected_w
    if 0.7 <= share <= 1.3:
        return LIT
    if not measured.coil:
        return Finding(Verdict.DEGRADED if is_lit(lamp, measured) else Verdict.FAILED, Cause.RELAY_FAILURE)
    if steady_ms < lamp.warm_up_s * 1000:
        return Finding(Verdict.UNKNOWN, Cause.WARMING_UP)
    if measured.power_w < max(3.0, 0.3 * expected_w):
        return Finding(Verdict.FAILED, Cause.LAMP_FAILURE)
    return Finding(Verdict.DEGRADED, Cause.LAMP_POWER_TOO_LOW if share < 0.7 else Cause.LAMP_POWER_TOO_HIGH)


@dataclass
class Cycling:
    """Counts how often a lamp that should burn steadily goes out or on again."""

    most: int = 4
    within_ms: int = 1_800_000
    _was_lit: bool | None = None
    _swings: deque[int] = field(default_factory=deque)

    def see(self, mono_ms: int, level_percent: int, is_lit_now: bool) -> bool:
        """Take one poll in; return whether the lamp cycles. A lamp that is switched starts anew."""
        if level_percent == 0:
            self._was_lit = None
            self._swings.clear()
            return False
        if self._was_lit is not None and is_lit_now != self._was_lit:
            self._swings.append(mono_ms)
        self._was_lit = is_lit_now
        while self._swings and mono_ms - self._swings[0] > self.within_ms:
            self._swings.popleft()
        return len(self._swings) > self.most

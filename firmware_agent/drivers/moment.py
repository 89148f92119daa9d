"""A moment that is remembered across restarts, and its age; pure over an injected clock."""

from typing import Final

import msgspec

from firmware_agent.clock import Clock
from firmware_agent.contract.ids import BootId
from firmware_agent.contract.vocabulary import ClockQuality

_BELIEVED: Final = frozenset({ClockQuality.NTP, ClockQuality.RTC, ClockQuality.HOLDOVER})
"""Good enough for ages of hours and days."""

_STEP_S: Final = 60.0
"""So far a good clock may be set back."""


class Moment(msgspec.Struct, frozen=True):
    """One instant on both clocks."""

    boot: BootId
    mono_ms: int
    wall_ms: int
    is_dated: bool
    """Whether `wall_ms` could be believed then."""


def moment(clock: Clock, mono_ms: int) -> Moment:
    """Return the instant `mono_ms` of this boot."""
    wall_ms = clock.wall_ms() - (clock.mono_ms() - mono_ms)
    return Moment(clock.boot, mono_ms, wall_ms, is_dated=clock.quality() in _BELIEVED)


def age_s(then: Moment, clock: Clock) -> float | None:
    """Return its age in seconds, None when the clocks do not allow to say."""
    if then.boot == clock.boot:
        return max(0.0, (clock.mono_ms() - then.mono_ms) / 1000)
    if then.is_dated and clock.quality() in _BELIEVED:
        age = (clock.wall_ms() - then.wall_ms) / 1000
        return max(0.0, age) if age > -_STEP_S else None  # it was believed too early, or this clock is
    return None

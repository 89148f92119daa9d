"""The node's clock: what is believed of it, and what never."""

import logging
from collections.abc import Callable

import pytest
import time_machine

from firmware_agent import clock as clocks
from firmware_agent.clock import RELEASED_AT_MS, Bounds, SystemClock
from firmware_agent.contract.vocabulary import ClockQuality
from firmware_agent.drivers.fake import ManualClock

NOW_MS = RELEASED_AT_MS + 86_400_000
YEAR_MS = 365 * 86_400_000


def at(wall_ms: int) -> time_machine.travel:
    return time_machine.travel(wall_ms / 1000, tick=False)


def says(*answers: ClockQuality | None) -> Callable[[], ClockQuality | None]:
    """What vouches for the clock, one answer per question; the last stays."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("wall_ms", [0, 10_000, RELEASED_AT_MS - 1])
def test_nothing_vouches_for_a_clock_below_the_floor(wall_ms: int) -> None:
    with at(wall_ms):
        assert SystemClock(vouch=says(ClockQuality.NTP)).quality() is ClockQuality.NONE
        assert SystemClock(assume=ClockQuality.NTP).quality() is ClockQuality.NONE


def test_nothing_vouches_for_a_clock_beyond_the_trust_anchor() -> None:
    bounds = Bounds(ceiling_ms=NOW_MS + 20 * YEAR_MS)
    with at(NOW_MS + 73 * YEAR_MS):
        clock = SystemClock(bounds, vouch=says(ClockQuality.NTP))
        assert clock.quality() is ClockQuality.NONE
        assert "after the end of the trust anchor" in bounds.complaint(clock.wall_ms())


def test_floor_is_the_highest_of_what_is_known() -> None:
    clock = SystemClock(Bounds().raised(NOW_MS, "the start of our own certificate"), vouch=says(ClockQuality.NTP))
    clock.raise_floor(NOW_MS - 5, "the last time known to be good", was_synchronised=False)
    with at(NOW_MS - 1):
        assert clock.quality() is ClockQuality.NONE
        assert "before the start of our own certificate" in clock.bounds.complaint(clock.wall_ms())
    with at(NOW_MS):
        assert clock.quality() is ClockQuality.NTP
        assert clock.bounds.complaint(clock.wall_ms()) == ""


@pytest.mark.parametrize("quality", [ClockQuality.NTP, ClockQuality.RTC])
def test_what_vouches_is_named(quality: ClockQuality) -> None:
    with at(NOW_MS):
        assert SystemClock(vouch=says(quality)).quality() is quality


def test_synchronisation_that_is_lost_is_holdover() -> None:
    with at(NOW_MS):
        clock = SystemClock(vouch=says(None, ClockQuality.NTP, None))
        assert [clock.quality() for _ in range(3)] == [ClockQuality.NONE, ClockQuality.NTP, ClockQuality.HOLDOVER]


def test_synchronisation_earlier_in_this_boot_is_holdover_after_a_restart() -> None:
    with at(NOW_MS):
        assert SystemClock(vouch=says(None), was_synchronised=True).quality() is ClockQuality.HOLDOVER


def test_assuming_is_insecure_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        SystemClock(assume=ClockQuality.NTP)
    assert "insecure" in caplog.text


def test_machine_says_something() -> None:
    assert clocks.machine_quality() in (None, ClockQuality.NTP, ClockQuality.RTC)


def test_wall_clock_below_the_time_since_boot_is_lifted_to_it() -> None:
    """So that what was seen before is not before 1970, which the wire cannot say."""
    clock = ManualClock(wall_ms=10_000, mono_ms=50_000)
    assert clocks.read(clock).wall_ms == 50_000


@pytest.mark.parametrize(("wall_ms", "text"), [(0, "1970-01-01 00:00:00Z"), (10**18, "1000000000000000000 ms")])
def test_any_time_can_be_shown(wall_ms: int, text: str) -> None:
    assert clocks.show(wall_ms) == text

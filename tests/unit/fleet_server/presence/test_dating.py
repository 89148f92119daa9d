"""When evidence was made: a trusted clock, else the boot's offset, else receive time, else never."""

import pytest

from firmware_agent.contract.ids import BootId
from firmware_agent.contract.messages import Clock
from firmware_agent.contract.vocabulary import ClockQuality
from fleet_server.presence.dating import FUTURE_MS, boot_offset_ms, read_clock, shift_ms

RECEIVED = 1_795_485_600_000


def clock(wall: int, quality: ClockQuality = ClockQuality.NTP, mono: int = 1_000) -> Clock:
    return Clock(wall, mono, BootId("b"), quality)


@pytest.mark.parametrize(
    ("ahead", "quality", "is_believed"),
    [
        (0, ClockQuality.NTP, True),
        (0, ClockQuality.RTC, True),
        (0, ClockQuality.HOLDOVER, False),
        (0, ClockQuality.NONE, False),
        (FUTURE_MS, ClockQuality.NTP, True),
        (FUTURE_MS + 1, ClockQuality.NTP, False),
        (-10 * 365 * 86_400_000, ClockQuality.NTP, True),
    ],
)
def test_a_clock_is_believed_when_it_is_trusted_and_not_in_the_future(ahead: int, quality: ClockQuality, is_believed: bool) -> None:
    reading = read_clock(clock(RECEIVED + ahead, quality), RECEIVED)
    assert reading.is_believed is is_believed
    assert (boot_offset_ms(reading) is not None) is is_believed


def test_a_believed_clock_needs_no_shift_whatever_else_is_known() -> None:
    reading = read_clock(clock(RECEIVED), RECEIVED)
    assert shift_ms(reading, received_at_ms=RECEIVED, is_replay=True, offset_ms=5) == 0


@pytest.mark.parametrize("is_replay", [True, False])
def test_the_offset_of_the_boot_dates_live_and_replay_alike(is_replay: bool) -> None:
    taught = boot_offset_ms(read_clock(clock(RECEIVED, mono=50_000), RECEIVED))
    reading = read_clock(clock(7_000, ClockQuality.NONE, mono=20_000), RECEIVED)
    shift = shift_ms(reading, received_at_ms=RECEIVED, is_replay=is_replay, offset_ms=taught)
    assert shift is not None
    assert reading.wall_ms + shift == RECEIVED - 30_000


def test_without_an_offset_live_is_dated_by_receive_time_and_replay_never() -> None:
    reading = read_clock(clock(7_000, ClockQuality.NONE), RECEIVED)
    assert shift_ms(reading, received_at_ms=RECEIVED, is_replay=False, offset_ms=None) == RECEIVED - 7_000
    assert shift_ms(reading, received_at_ms=RECEIVED, is_replay=True, offset_ms=None) is None

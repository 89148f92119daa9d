"""When evidence was made, by the server's reckoning.

A node's wall clock is believed when it says that it is trusted (`ntp`, `rtc`) and does not point into the future. Otherwise
its monotonic clock is: the first message of a boot with a trusted clock, in the order of the journal, fixes that boot's
offset (wall − monotonic) for all its messages, before and after. Until it is known, live evidence is dated by receive time;
replay that can never be dated proves nothing. Nothing was ever observed after it was received.
"""

from typing import Final, NamedTuple

from firmware_agent.contract.messages import Clock

FUTURE_MS: Final = 60_000
"""How far a trusted clock may be ahead of the server before its word is not taken."""


class Reading(NamedTuple):
    """Both clocks of a node at one instant, and whether the wall clock is believed."""

    wall_ms: int
    mono_ms: int
    boot: str
    is_believed: bool


def read_clock(clock: Clock, received_at_ms: int) -> Reading:
    """Judge the clock of a message."""
    is_believed = clock.quality.is_trusted and clock.wall_ms <= received_at_ms + FUTURE_MS
    return Reading(clock.wall_ms, clock.mono_ms, clock.boot, is_believed)


def shift_ms(reading: Reading, *, received_at_ms: int, is_replay: bool, offset_ms: int | None) -> int | None:
    """Return what to add to the message's own times to make them true, None when they cannot be dated.

    `offset_ms` is the offset of the message's boot, None while unknown.
    """
    if reading.is_believed:
        return 0
    if offset_ms is not None:
        return reading.mono_ms + offset_ms - reading.wall_ms
    return None if is_replay else received_at_ms - reading.wall_ms


def boot_offset_ms(reading: Reading) -> int | None:
    """Return what this message teaches of its boot, None when its clock is not believed."""
    return reading.wall_ms - reading.mono_ms if reading.is_believed else None

"""The node's two clocks, and how far its wall clock may be believed.

A Pi has no battery for its clock: after a power cut it may wake in 1970, or at the moment it was switched off. So the wall
clock is believed only when something vouches for it (NTP, a battery-backed RTC), and never below the *floor*: times before
this release, before the last good time, or before our own certificate cannot be now. Nor above the *ceiling*, the end of
our trust anchor's life. All timeouts use the monotonic clock.

Source: reference `edge.md` §4.4, `pki.md` §2.6.
"""

import ctypes
import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from firmware_agent.contract import messages
from firmware_agent.contract.ids import BootId
from firmware_agent.contract.vocabulary import ClockQuality

RELEASED_AT_MS: Final = 1_793_491_200_000
"""2026-11-01: no clock before this release is right. Raised with each release."""

TIMESYNC_FILE: Final = Path("/run/systemd/timesync/synchronized")
BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
RTC_FILE: Final = Path("/sys/class/rtc/rtc0/hctosys")

_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised

_log = logging.getLogger(__name__)


class Clock(Protocol):
    """Wall and monotonic time of this node."""

    @property
    def boot(self) -> BootId:
        """The boot in which `mono_ms` counts."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC; may be wrong by years (see `quality`)."""
        ...

    def mono_ms(self) -> int:
        """Return milliseconds since boot (CLOCK_MONOTONIC, as the kernel's GPIO timestamps); never steps."""
        ...

    def quality(self) -> ClockQuality:
        """Return how far `wall_ms` may be believed now."""
        ...


def read(clock: Clock) -> messages.Clock:
    """Return both clocks as the wire carries them.

    A wall clock that shows less than the time since boot is certainly wrong; it is lifted to it, so that no moment of this
    boot becomes negative on the wire.
    """
    mono_ms = clock.mono_ms()
    return messages.Clock(max(clock.wall_ms(), mono_ms), mono_ms, clock.boot, clock.quality())


@dataclass(frozen=True)
class Bounds:
    """Between which instants the wall clock can be right (milliseconds since 1970-01-01 UTC)."""

    floor_ms: int = RELEASED_AT_MS
    floor_is: str = "this release"
    ceiling_ms: int | None = None

    def raised(self, floor_ms: int, floor_is: str) -> "Bounds":
        """Return bounds with this floor if it is higher."""
        return Bounds(floor_ms, floor_is, self.ceiling_ms) if floor_ms > self.floor_ms else self

    def complaint(self, wall_ms: int) -> str:
        """Say in one sentence why this wall time cannot be right; empty when it can."""
        if wall_ms < self.floor_ms:
            return f"the clock shows {show(wall_ms)}, before {self.floor_is} ({show(self.floor_ms)})"
        if self.ceiling_ms is not None and wall_ms > self.ceiling_ms:
            return f"the clock shows {show(wall_ms)}, after the end of the trust anchor ({show(self.ceiling_ms)})"
        return ""


def show(wall_ms: int) -> str:
    """Return a wall time for people, UTC, such as `2026-11-24 02:00:00Z`."""
    try:
        return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{wall_ms} ms"


class SystemClock:
    """The clock of this machine.

    `assume` (a demo or a test bench only; it warns) vouches for the wall clock instead of NTP or RTC; the bounds still hold.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        *,
        assume: ClockQuality | None = None,
        was_synchronised: bool = False,
        vouch: "Callable[[], ClockQuality | None] | None" = None,
    ) -> None:
        """`was_synchronised`: something vouched for the clock earlier in this boot. `vouch` is for tests."""
        self.bounds = bounds or Bounds()
        self._assume = assume
        self._was_synchronised = was_synchronised
        self._vouch = vouch or machine_quality
        self._boot = boot_id()
        if assume is not None:
            _log.warning("insecure: clock.assume = %s vouches for the clock of this machine; use it for demos only", assume.value)

    def raise_floor(self, floor_ms: int, floor_is: str, *, was_synchronised: bool) -> None:
        """Take over what was remembered: a time known to be good, and whether it was in this boot."""
        self.bounds = self.bounds.raised(floor_ms, floor_is)
        self._was_synchronised = self._was_synchronised or was_synchronised

    @property
    def boot(self) -> BootId:
        """See `Clock`."""
        return self._boot

    def wall_ms(self) -> int:
        """See `Clock`."""
        return max(0, time.time_ns() // 1_000_000)

    def mono_ms(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns() // 1_000_000

    def quality(self) -> ClockQuality:
        """See `Clock`."""
        if self.bounds.complaint(self.wall_ms()):
            return ClockQuality.NONE
        found = self._assume or self._vouch()
        if found is not None:
            self._was_synchronised = True
            return found
        return ClockQuality.HOLDOVER if self._was_synchronised else ClockQuality.NONE


def boot_id() -> BootId:
    """Return the kernel's boot id, or a stand-in for this process where there is none."""
    try:
        return BootId(BOOT_ID_FILE.read_text().strip())
    except OSError:
        return BootId(str(uuid.uuid4()))


def machine_quality() -> ClockQuality | None:
    """Return what vouches for this machine's wall clock, None for nothing."""
    if TIMESYNC_FILE.exists() or _kernel_is_synchronised():
        return ClockQuality.NTP
    try:
        return ClockQuality.RTC if RTC_FILE.read_text().strip() == "1" else None
    except OSError:
        return None


class _Timex(ctypes.Structure):
    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_char * 400))


def _kernel_is_synchronised() -> bool:
    """Ask adjtimex(2), as chrony and ntpd tell it. EPERM (systemd's `ProtectClock=yes`) counts as no."""
    if os.name != "posix":
        return False
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(_Timex()))
    except (AttributeError, OSError):
        return False
    return 0 <= state < _TIME_ERROR

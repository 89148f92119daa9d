"""How the machine is. A figure it cannot give is absent."""

from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types

from firmware_agent.contract.messages import Health
from firmware_agent.outbox.model import Counts

_THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_MAX_AGE_MS: Final = 5_000


class HostHealth:
    """Reads the machine's figures, at most every 5 s."""

    def __init__(self, disk: Path) -> None:
        """`disk` is a folder on the disk whose free space matters."""
        self._disk = disk
        self._read_at_ms = -_MAX_AGE_MS
        self._last = Health()
        psutil.cpu_percent()  # the first call only starts the measurement

    def read(self, counts: Counts, *, mono_ms: int) -> Health:
        """Return the figures with what the outbox holds."""
        if mono_ms - self._read_at_ms >= _MAX_AGE_MS:
            self._read_at_ms = mono_ms
            self._last = Health(
                cpu_percent=psutil.cpu_percent(),
                memory_percent=psutil.virtual_memory().percent,
                disk_free_mb=_free_mb(self._disk),
                temperature_c=_temperature_c(),
                is_throttled=_is_throttled(),
                uptime_s=mono_ms / 1000,
            )
        last = self._last
        return Health(
            last.cpu_percent,
            last.memory_percent,
            last.disk_free_mb,
            last.temperature_c,
            last.is_throttled,
            last.uptime_s,
            outbox_heartbeats=counts.heartbeats_held,
            outbox_events=counts.events_held,
        )


def _free_mb(disk: Path) -> float | None:
    try:
        return round(float(psutil.disk_usage(str(disk)).free) / 1_000_000, 1)
    except OSError:
        return None


def _temperature_c() -> float | None:
    try:
        found: list[float] = [entry.current for entries in psutil.sensors_temperatures().values() for entry in entries if entry.current]
    except (OSError, AttributeError):
        return None
    return max(found, default=None)


def _is_throttled() -> bool | None:
    """Whether the Pi is throttled or under-voltage now (bits 0 to 3)."""
    try:
        return bool(int(_THROTTLED.read_text(), 16) & 0xF)
    except (OSError, ValueError):
        return None

"""What a process uses, as Linux counts it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """Processor seconds since its start, and memory now."""

    cpu_s: float
    rss_mb: float


def used(pid: int) -> Used:
    """Return what a process has used; nothing for one that is gone."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        status = (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return Used(0.0, 0.0)
    rss_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return Used((int(fields[11]) + int(fields[12])) / _TICKS_S, rss_kb / 1024)


def machine() -> dict[str, str | int | float]:
    """Say what it was measured on."""
    import platform

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

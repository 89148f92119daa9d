"""Line protocol, by hand: a prefix that is escaped once and kept, then numbers. Pure.

Fields never change their type: metrics are floats always, counts integers, facts booleans.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from firmware_agent.contract.messages import Evidence, Health
from firmware_agent.contract.vocabulary import METRICS, Kind
from fleet_server.presence.model import State

STATE_NUMBER: Final = MappingProxyType(
    {State.WORKING: 0, State.DEGRADED: 1, State.FAILED: 2, State.UNKNOWN: 3, State.MAINTENANCE: 4, State.EXCUSED: 5}
)
"""Field `state`; dashboards map the numbers back to words."""

_METRICS: Final = {kind: frozenset(names) for kind, names in METRICS.items()}
_TAG: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\ ", "\r": r"\ ", "\t": r"\ ", "\\": "/"})
"""A backslash cannot be told apart from an escape in every place of a tag, so a name that has one is written with a slash."""

_TEXT: Final = str.maketrans({'"': r"\"", "\\": r"\\", "\n": " ", "\r": " "})


def station_of(unit_path: str) -> str:
    """Return the tag of a unit: its path with dots, for two units in different places may have the same code."""
    return unit_path.strip("/").replace("/", ".") or "-"


def series(measurement: str, tags: Mapping[str, str]) -> bytes:
    """Return the escaped beginning of a line, with a space at its end. Tags that are empty are left out."""
    parts = [f"{key}={value.translate(_TAG)}" for key, value in sorted(tags.items()) if value]
    return ",".join((measurement, *parts)).encode("utf-8", "replace") + b" "


def text(value: str) -> str:
    """Return a string as the value of a field."""
    return f'"{value.translate(_TEXT)}"'


def flag(value: bool) -> str:  # a value, not an option
    """Return a boolean as the value of a field."""
    return "true" if value else "false"


def heartbeat_line(prefix: bytes, kind: Kind, evidence: Evidence, *, seq: int, is_late: bool, at_ms: int) -> bytes:
    """Return one piece of evidence; numbers that the contract does not name for the kind are left out."""
    allowed = _METRICS[kind]
    metrics = evidence.metrics
    if not metrics.keys() <= allowed:
        metrics = {name: value for name, value in metrics.items() if name in allowed}
    numbers = "".join([f"{name}={value!r}," for name, value in metrics.items()])
    return prefix + f"{numbers}seq={seq}i,late={'true' if is_late else 'false'} {at_ms}".encode()


def health_line(prefix: bytes, health: Health, *, at_ms: int) -> bytes:
    """Return how a node is; figures that it cannot give are left out."""
    floats = (
        ("cpu_percent", health.cpu_percent),
        ("memory_percent", health.memory_percent),
        ("disk_free_mb", health.disk_free_mb),
        ("temperature_c", health.temperature_c),
        ("uptime_s", health.uptime_s),
        ("clock_offset_ms", health.clock_offset_ms),
    )
    parts = [f"{name}={value!r}" for name, value in floats if value is not None]
    if health.is_throttled is not None:
        parts.append(f"throttled={flag(health.is_throttled)}")
    parts.append(f"outbox_heartbeats={health.outbox_heartbeats}i")
    parts.append(f"outbox_events={health.outbox_events}i")
    return prefix + f"{','.join(parts)} {at_ms}".encode()


def line(prefix: bytes, fields: Iterable[tuple[str, str]], *, at_ms: int) -> bytes:
    """Return a line of ready field values."""
    return prefix + f"{','.join(f'{name}={value}' for name, value in fields)} {at_ms}".encode("utf-8", "replace")


def timestamp_of(written: bytes) -> int:
    """Return the time of a line that was made here."""
    return int(written[written.rindex(b" ") + 1 :])

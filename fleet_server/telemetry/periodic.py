"""Rows that are written though nothing was received: a silent device must show as silent, not as nothing. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import State
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.telemetry.derived import position_tags
from fleet_server.telemetry.lines import STATE_NUMBER, line, series, station_of
from fleet_server.telemetry.sources import LedgerHour
from fleet_server.uptime.model import WHOLE, Parts, measures

_DOWN = frozenset({State.FAILED, State.UNKNOWN})


def state_lines(statuses: Iterable[PositionStatus], directory: Directory, *, at_ms: int) -> list[bytes]:
    """Return `position_state` of every position. `down` counts failed and unknown: not doing its work as far as anybody knows."""
    lines = []
    for status in statuses:
        position = directory.positions.get(status.position_id)
        if position is None:
            continue
        fields = [
            ("working", f"{int(status.state is State.WORKING)}i"),
            ("down", f"{int(status.state in _DOWN)}i"),
            ("state", f"{STATE_NUMBER[status.state]}i"),
            ("lat", repr(float(position.lat))),
            ("lon", repr(float(position.lon))),
        ]
        if status.observed_at_ms is not None:
            fields.append(("age_s", repr(max(0, at_ms - status.observed_at_ms) / 1000)))
        lines.append(line(series("position_state", position_tags(position)), fields, at_ms=at_ms))
    return lines


def station_lines(statuses: Iterable[PositionStatus], uptime_1h: Mapping[tuple[str, str], float], *, at_ms: int) -> list[bytes]:
    """Return `station_state` of each station and kind; `uptime_1h` is of the newest closed hour, absent while there is none."""
    counts: dict[tuple[str, str], Counter[State]] = {}
    for status in statuses:
        counts.setdefault((station_of(status.unit_path), status.kind.value), Counter())[status.state] += 1
    lines = []
    for key, count in sorted(counts.items()):
        fields = [("total", f"{count.total()}i")]
        fields += [(state.value, f"{count[state]}i") for state in State]
        if key in uptime_1h:
            fields.append(("uptime_1h", repr(uptime_1h[key])))
        lines.append(line(series("station_state", {"station": key[0], "kind": key[1]}), fields, at_ms=at_ms))
    return lines


def hour_lines(position: PositionRef, hours: Sequence[LedgerHour]) -> list[bytes]:
    """Return `uptime_1h` of a position, dated by the start of the hour. The parts add up to commissioned milliseconds."""
    lines = []
    for hour in hours:
        tags = {
            "position": position.code,
            "station": station_of(position.unit_path),
            "kind": position.kind.value,
            "function": "all" if hour.function == WHOLE else hour.function,
        }
        parts = hour.parts
        fields = [(f"{state.value}_ms", f"{getattr(parts, f'{state.value}_ms')}i") for state in State]
        fields += [("commissioned_ms", f"{parts.commissioned_ms}i"), ("replayed_ms", f"{parts.replayed_ms}i")]
        coverage = measures(parts).coverage
        if coverage is not None:
            fields.append(("coverage", repr(float(coverage))))
        lines.append(line(series("uptime_1h", tags), fields, at_ms=hour.hour_ms))
    return lines


def uptime_by_station(found: Iterable[tuple[PositionRef, Sequence[LedgerHour]]], hour_ms: int) -> dict[tuple[str, str], float]:
    """Return the share of time worked in one hour, by station and kind; a position counts once, whatever its functions."""
    sums: dict[tuple[str, str], Parts] = {}
    for position, hours in found:
        own = {hour.function: hour.parts for hour in hours if hour.hour_ms == hour_ms}
        parts = own.get(WHOLE) or next(iter(own.values()), None)
        if parts is not None:
            key = (station_of(position.unit_path), position.kind.value)
            sums[key] = sums.get(key, Parts()) + parts
    shares = {key: measures(parts).strict for key, parts in sums.items()}
    return {key: float(share) for key, share in shares.items() if share is not None}


def server_line(instance: str, figures: Mapping[str, int | float], *, at_ms: int) -> bytes:
    """Return `fleet_server`; integers stay integers, all else are floats."""
    fields = [(name, f"{value}i" if isinstance(value, int) else repr(value)) for name, value in sorted(figures.items())]
    return line(series("fleet_server", {"instance": instance}), fields, at_ms=at_ms)

"""When a lamp should burn: a pure function of local time, asked anew at each poll; no jobs that a reboot could miss.

Later: `dusk_to_dawn` with `astral` (always with `tzinfo`; midnight sun and polar night raise `ValueError`: always off, always on).

Source: reference `edge.md` §3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

_DAY_MIN: Final = 24 * 60
_MS_PER_MIN: Final = 60_000

Span = tuple[int, int]
"""Half-open, minutes of the local day; the end may lie before the beginning: over midnight."""


@dataclass(frozen=True)
class Schedule:
    """A daily programme."""

    kind: Literal["always_on", "always_off", "hours"]
    spans: tuple[Span, ...] = ()
    utc_offset_min: int = 420

    def level_percent(self, wall_ms: int, *, is_trusted: bool) -> int:
        """Return 0 or 100. A clock that cannot be trusted leaves the light on."""
        match self.kind:
            case "always_on":
                return 100
            case "always_off":
                return 0
            case "hours":
                return 100 if not is_trusted or self._is_within(wall_ms) else 0

    def _is_within(self, wall_ms: int) -> bool:
        minute = (wall_ms // _MS_PER_MIN + self.utc_offset_min) % _DAY_MIN
        return any(begin <= minute < end if begin < end else minute >= begin or minute < end for begin, end in self.spans)


def parse_schedule(kind: Literal["always_on", "always_off", "hours"], hours: Sequence[str], utc_offset: str) -> Schedule:
    """Read a schedule as settings write it (`18:00-06:00`, `+07:00`), already checked for their form.

    Raises:
        ValueError: `hours` are missing, or given for another kind.
    """
    if (kind == "hours") != bool(hours):
        raise ValueError('hours: give them with schedule = "hours", and only then')
    spans = tuple((_minutes(begin), _minutes(end)) for begin, _, end in (text.partition("-") for text in hours))
    sign = -1 if utc_offset.startswith("-") else 1
    return Schedule(kind, spans, sign * _minutes(utc_offset[1:]))


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)

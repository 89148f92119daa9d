"""Which units of a bus do not answer, and when they may be asked again. Pure.

A dead unit costs its full timeout each time it is asked, and everybody on the bus waits. So after a few silences in a row it is
left alone for ten times what a silence costs: it takes at most a tenth of the bus.
"""

from dataclasses import dataclass, field
from typing import Final

SILENCES: Final = 3
_REST_FACTOR: Final = 10
_REST_MAX_MS: Final = 60_000


@dataclass
class Quarantine:
    """Silences by unit; times on a monotonic clock, milliseconds."""

    _silences: dict[int, int] = field(default_factory=dict)
    _until_ms: dict[int, int] = field(default_factory=dict)

    def rest_ms(self, unit: int, now_ms: int) -> int:
        """Return how long the unit is left alone yet; 0: ask it."""
        return max(0, self._until_ms.get(unit, 0) - now_ms)

    def answered(self, unit: int) -> None:
        """The unit said something, be it an error: it lives."""
        self._silences.pop(unit, None)
        self._until_ms.pop(unit, None)

    def silent(self, unit: int, now_ms: int, cost_ms: int) -> int:
        """The unit did not answer, which took `cost_ms`; return how long it is left alone now (0: not yet)."""
        self._silences[unit] = self._silences.get(unit, 0) + 1
        if self._silences[unit] < SILENCES:
            return 0
        rest_ms = min(_REST_MAX_MS, _REST_FACTOR * cost_ms)
        self._until_ms[unit] = now_ms + rest_ms
        return rest_ms

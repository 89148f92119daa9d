"""When a bad check becomes evidence of a fault: the only hysteresis of the drivers. Pure.

One bad check is no fault yet (a lost packet, a lamp just switched); it is repeated soon, and only the same trouble several
times in a row, or for a given time, is evidence. One good check is evidence at once. So evidence stays honest per check, a
single hiccup raises nothing, and a real fault is known within seconds of its first sign.

Source: reference `edge.md` §1.1 (3 bad probes or 45 s), §3.3 (3 polls).
"""

from dataclasses import dataclass
from typing import Final

QUICK_SHARE: Final = 5
"""A suspicious check is repeated after a fifth of its interval."""


@dataclass
class Confirmation:
    """Counts bad checks in a row."""

    needed: int = 3
    within_ms: int = 45_000
    """A trouble that lasts this long is confirmed by its second check."""
    _bad: int = 0
    _since_ms: int = 0

    @property
    def is_pending(self) -> bool:
        """Whether a trouble was seen that is not confirmed yet."""
        return 0 < self._bad < self.needed

    def good(self) -> None:
        """Forget the trouble."""
        self._bad = 0

    def bad(self, mono_ms: int) -> bool:
        """Count one bad check; return whether the trouble is confirmed."""
        if self._bad == 0:
            self._since_ms = mono_ms
        self._bad += 1
        if self._bad >= 2 and mono_ms - self._since_ms >= self.within_ms:
            self._bad = max(self._bad, self.needed)
        return self._bad >= self.needed

    def pause_s(self, interval_s: float) -> float:
        """Return how long to wait for the next check: shorter while a trouble is not confirmed."""
        return interval_s / QUICK_SHARE if self.is_pending else interval_s

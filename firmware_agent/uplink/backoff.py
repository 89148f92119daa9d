"""How long to wait before trying again: doubling, with full jitter, so that a fleet does not come back all at once. Pure."""

import random
from collections.abc import Callable


class Backoff:
    """Waits that grow with each failure in a row."""

    def __init__(self, *, first_s: float = 1.0, longest_s: float = 60.0, draw: Callable[[float, float], float] = random.uniform) -> None:
        """`draw(a, b)` returns a number between; tests make it certain."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._draw = draw
        self._failures = 0

    def next_s(self) -> float:
        """Return how long to wait now: uniform in [0, min(longest, first × 2ⁿ)]."""
        bound_s = min(self._longest_s, self._first_s * 2 ** min(self._failures, 30))
        self._failures += 1
        return self._draw(0.0, bound_s)

    def reset(self) -> None:
        """Start from the first wait again, after something has held for long enough."""
        self._failures = 0

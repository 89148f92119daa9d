"""Slows down who guesses: after a few wrong tries each next one must wait, longer and longer. Not shared between processes."""

import threading
from collections import OrderedDict
from typing import Final

from fleet_server.clock import Clock
from fleet_server.problems import TooManyTries

FREE_TRIES: Final = 5
MAX_WAIT_S: Final = 900
_MAX_KEYS: Final = 10_000
_FORGET_S: Final = 3600


class Throttle:
    """Counts tries by key. A try counts from its beginning, so many at once gain nothing. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        """`clock` is asked for its monotonic time."""
        self._clock = clock
        self._tries: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, key: tuple[str, str]) -> None:
        """Count a try.

        Raises:
            TooManyTries: it comes too early; it was not counted.
        """
        now_s = self._clock.mono_s()
        with self._lock:
            count, last_s = self._tries.get(key, (0, now_s))
            if now_s - last_s > _FORGET_S:
                count = 0
            wait_s = 0 if count < FREE_TRIES else min(2 ** (count - FREE_TRIES + 1), MAX_WAIT_S)
            left_s = last_s + wait_s - now_s
            if left_s > 0:
                raise TooManyTries("Too many wrong tries. Wait a little, then try again.", retry_after_s=max(1, round(left_s)))
            self._tries[key] = (count + 1, now_s)
            self._tries.move_to_end(key)
            while len(self._tries) > _MAX_KEYS:
                self._tries.popitem(last=False)

    def forget(self, key: tuple[str, str]) -> None:
        """The try was right: begin from nought."""
        with self._lock:
            self._tries.pop(key, None)

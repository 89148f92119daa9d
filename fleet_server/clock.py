"""The one source of time of the server, injected everywhere so that tests can hold it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        ...

    def mono_s(self) -> float:
        """Return seconds of a clock that never steps."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def mono_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

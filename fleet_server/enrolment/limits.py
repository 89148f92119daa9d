"""How often one address may be wrong before it has to wait."""

from collections import OrderedDict, deque
from typing import Final

_ADDRESSES: Final = 10_000


class WrongTries:
    """Counts wrong tries by address in a sliding window, in bounded memory (the longest silent are forgotten first)."""

    def __init__(self, *, limit: int = 30, window_s: float = 600.0) -> None:
        """At most `limit` wrong tries in `window_s` seconds. Technicians of one station share an address, so not too few."""
        self._limit = limit
        self._window_s = window_s
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, mono_s: float) -> float:
        """Return how many seconds `address` has to wait; 0 when it may try."""
        tries = self._tries.get(address)
        if tries is None:
            return 0.0
        while tries and tries[0] <= mono_s - self._window_s:
            tries.popleft()
        return tries[0] + self._window_s - mono_s if len(tries) >= self._limit else 0.0

    def count(self, address: str, mono_s: float) -> None:
        """Note a wrong try of `address`."""
        tries = self._tries.setdefault(address, deque(maxlen=self._limit))
        tries.append(mono_s)
        self._tries.move_to_end(address)
        if len(self._tries) > _ADDRESSES:
            self._tries.popitem(last=False)

"""What a simulated node remembers of what it made: enough to make it again, until the server says that it is stored. Pure.

The payload of a heartbeat is a function of its number and its time, so only those are kept.
"""

from collections.abc import Iterable
from typing import NamedTuple

from firmware_agent.contract.ids import StreamId


class Beat(NamedTuple):
    """One heartbeat that was made."""

    seq: int
    wall_ms: int
    mono_ms: int


class Outbox:
    """One stream of heartbeats."""

    def __init__(self, stream: StreamId) -> None:
        """`stream` is new: its numbers start at 1."""
        self.stream = stream
        self.made = 0
        self._held: dict[int, Beat] = {}

    @property
    def held(self) -> int:
        """How many the server has not acknowledged yet."""
        return len(self._held)

    @property
    def floor(self) -> int:
        """The lowest number that is held; the next one where none is."""
        return next(iter(self._held), self.made + 1)

    def make(self, *, wall_ms: int, mono_ms: int) -> Beat:
        """Number one more heartbeat and keep it."""
        self.made += 1
        beat = self._held[self.made] = Beat(self.made, wall_ms, mono_ms)
        return beat

    def acknowledge(self, through: int, gaps: Iterable[tuple[int, int]]) -> list[Beat]:
        """Forget what is stored; return what the server misses, ascending."""
        spans = list(gaps)
        missing = [seq for first, last in spans for seq in range(first, last + 1) if seq in self._held]
        wanted = set(missing)
        for seq in [seq for seq in self._held if seq <= through and seq not in wanted]:
            del self._held[seq]
        return [self._held[seq] for seq in missing]

    def all_held(self) -> list[Beat]:
        """Return all that is not acknowledged, ascending."""
        return list(self._held.values())

"""Drills: the window in which a press is a marked test, and the proof that a press once went all the way. Pure.

Only a press that the server has acknowledged proves the button. One that was found closed at the start proves nothing.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from firmware_agent.contract.ids import EventId
from firmware_agent.drivers.moment import Moment

MAX_WINDOW_S: Final = 1_800


@dataclass
class Window:
    """The time in which presses are drills. It lives in memory only: after a restart a press is meant."""

    _from_ms: int = 0
    _until_ms: int = 0

    def begin(self, now_ms: int, duration_s: float) -> None:
        """Open it; a window that is open already ends at the new time."""
        if not self.holds(now_ms):
            self._from_ms = now_ms
        self._until_ms = now_ms + int(duration_s * 1000)

    def end(self) -> None:
        """Close it."""
        self._until_ms = 0

    def holds(self, at_ms: int) -> bool:
        """Return whether a press at this moment is a drill; one that came before the window was meant, however late it is looked at."""
        return self._from_ms <= at_ms < self._until_ms


class Proof(msgspec.Struct, frozen=True):
    """A press that the server acknowledged, or may still."""

    event_id: EventId
    pressed: Moment

    def to_text(self) -> str:
        """Return it as the node remembers it."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_text(text: str | None) -> "Proof | None":
        """Read it; None for nothing or for what is no proof."""
        try:
            return msgspec.json.decode(text, type=Proof) if text else None
        except msgspec.DecodeError:
            return None

"""Events that the server has not stored, and when to say each again. Pure; times are monotonic milliseconds."""

from dataclasses import dataclass
from typing import Final

from firmware_agent.contract.ids import EventId
from firmware_agent.outbox.model import StoredEvent

_FIRST_MS: Final = 10_000
_LONGEST_MS: Final = 60_000


@dataclass
class _Entry:
    event: StoredEvent
    order: int
    tries: int = 0
    due_ms: int = 0


class PendingEvents:
    """Sent at once, then again after 10, 20, 40, 60, 60 … s, and at once in each new session, until acknowledged."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[EventId, _Entry] = {}
        self._order = 0

    def add(self, event: StoredEvent) -> None:
        """Add one that is due now."""
        if event.event_id not in self._entries:
            self._order += 1
            self._entries[event.event_id] = _Entry(event, self._order)

    def begin_session(self) -> None:
        """Make all due now."""
        for entry in self._entries.values():
            entry.tries, entry.due_ms = 0, 0

    def take(self, now_ms: int) -> StoredEvent | None:
        """Return the event to send now (of those never sent in this session, the newest first) and schedule it again."""
        due = [entry for entry in self._entries.values() if entry.due_ms <= now_ms]
        if not due:
            return None
        entry = min(due, key=lambda e: (e.tries, -e.order))
        entry.due_ms = now_ms + min(_FIRST_MS * 2**entry.tries, _LONGEST_MS)
        entry.tries = min(entry.tries + 1, 10)
        return entry.event

    def wait_ms(self, now_ms: int) -> int | None:
        """Return how long until one is due, None when there are none."""
        return max(0, min(e.due_ms for e in self._entries.values()) - now_ms) if self._entries else None

    def forget(self, event: EventId) -> None:
        """It is acknowledged."""
        self._entries.pop(event, None)

    def __len__(self) -> int:
        return len(self._entries)

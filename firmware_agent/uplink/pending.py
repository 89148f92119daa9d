"""Events that the server has not stored, and when to say each again. Pure; times are monotonic milliseconds."""

from heapq import heappop, heappush
from typing import Final

from firmware_agent.contract.ids import EventId
from firmware_agent.outbox.model import StoredEvent

_FIRST_MS: Final = 10_000
_LONGEST_MS: Final = 60_000
_MOST_TRIES: Final = 10


class PendingEvents:
    """Sent at once, then again after 10, 20, 40, 60, 60 … s, and at once in each new session, until acknowledged.

    A contact that chatters through a long outage leaves tens of thousands, so no act looks at all of them.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._events: dict[EventId, StoredEvent] = {}
        self._fresh: list[EventId] = []
        """Not sent in this session, the newest last; some may be acknowledged already."""
        self._again: list[tuple[int, int, EventId]] = []
        """A heap of when due, how often tried, which; some may be acknowledged already."""

    def add(self, event: StoredEvent) -> None:
        """Add one that is due now."""
        if event.event_id not in self._events:
            self._events[event.event_id] = event
            self._fresh.append(event.event_id)

    def begin_session(self) -> None:
        """Make all due now."""
        self._fresh = list(self._events)
        self._again.clear()

    def take(self, now_ms: int) -> StoredEvent | None:
        """Return the event to send now (of those never sent in this session, the newest first) and schedule it again."""
        self._drop_acknowledged()
        tries = 0
        if self._fresh:
            event_id = self._fresh.pop()
        elif self._again and self._again[0][0] <= now_ms:
            _, tries, event_id = heappop(self._again)
        else:
            return None
        heappush(self._again, (now_ms + min(_FIRST_MS * 2**tries, _LONGEST_MS), min(tries + 1, _MOST_TRIES), event_id))
        return self._events[event_id]

    def wait_ms(self, now_ms: int) -> int | None:
        """Return how long until one is due, None when there are none."""
        self._drop_acknowledged()
        if self._fresh:
            return 0
        return max(0, self._again[0][0] - now_ms) if self._again else None

    def forget(self, event: EventId) -> None:
        """It is acknowledged."""
        self._events.pop(event, None)

    def __len__(self) -> int:
        return len(self._events)

    def _drop_acknowledged(self) -> None:
        while self._fresh and self._fresh[-1] not in self._events:
            self._fresh.pop()
        while self._again and self._again[0][2] not in self._events:
            heappop(self._again)

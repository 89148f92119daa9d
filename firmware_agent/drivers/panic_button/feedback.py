"""What the person at the button sees and hears, as a pure state machine.

Amber at once; green and buzzer only when the SERVER has stored the press; amber blinks when that takes longer than the
delivery time ("not delivered, call by other means"); after the fault time a fault is reported, once per press.

Source: reference `edge.md` §2.4 (EN 54-21: fault within 100 s without the centre's acknowledgement).
"""

from collections import deque
from dataclasses import dataclass, field

from firmware_agent.contract.ids import EventId


@dataclass(frozen=True)
class Times:
    """Times of the feedback, milliseconds."""

    delivered_within_ms: int = 10_000
    fault_after_ms: int = 100_000
    green_ms: int = 5_000
    buzzer_ms: int = 1_000
    blink_ms: int = 500
    """Half a period."""


@dataclass(frozen=True)
class Lights:
    """What is on."""

    amber: bool = False
    green: bool = False
    buzzer: bool = False


@dataclass
class _Waiting:
    pressed_ms: int
    is_reported: bool = False
    is_delivered: bool = False


@dataclass
class Feedback:
    """Presses that wait for the server, and what to show for them. No act looks at all of them: a long outage may leave many."""

    times: Times = field(default_factory=Times)
    _unstored: deque[_Waiting] = field(default_factory=deque)
    _stored: dict[EventId, _Waiting] = field(default_factory=dict)
    _unreported: deque[_Waiting] = field(default_factory=deque)
    """Oldest first; some may be delivered already."""
    _reported: int = 0
    """How many are reported as not delivered and still are not."""
    _delivered_ms: int | None = None

    def pressed(self, at_ms: int) -> None:
        """Show a press before it is even stored."""
        waiting = _Waiting(at_ms)
        self._unstored.append(waiting)
        self._unreported.append(waiting)
        self._delivered_ms = None

    def stored(self, event_id: EventId) -> None:
        """The oldest press without an id is stored on this node under this one."""
        if self._unstored:
            self._stored[event_id] = self._unstored.popleft()

    def acknowledged(self, event_id: EventId, now_ms: int) -> bool:
        """Show that the server has it; return whether anything waited for it."""
        delivered = self._stored.pop(event_id, None)
        if delivered is None:
            return False
        delivered.is_delivered = True
        self._reported -= delivered.is_reported
        self._delivered_ms = now_ms
        return True

    def overdue(self, now_ms: int) -> bool:
        """Return whether a press has now waited so long that it is a fault; True once per press."""
        before = self._reported
        while (due_ms := self._fault_due_ms) is not None and due_ms <= now_ms:
            self._unreported.popleft().is_reported = True
            self._reported += 1
        return self._reported > before

    @property
    def is_undelivered(self) -> bool:
        """Whether a press was reported as not delivered and still is not."""
        return self._reported > 0

    @property
    def _oldest(self) -> _Waiting | None:
        return next(iter(self._stored.values()), None) or (self._unstored[0] if self._unstored else None)

    @property
    def _fault_due_ms(self) -> int | None:
        while self._unreported and self._unreported[0].is_delivered:
            self._unreported.popleft()
        return self._unreported[0].pressed_ms + self.times.fault_after_ms if self._unreported else None

    def lights(self, now_ms: int) -> Lights:
        """Return what is on now."""
        since_ms = None if self._delivered_ms is None else now_ms - self._delivered_ms
        return Lights(
            amber=self._amber(now_ms),
            green=since_ms is not None and since_ms < self.times.green_ms,
            buzzer=since_ms is not None and since_ms < self.times.buzzer_ms,
        )

    def _amber(self, now_ms: int) -> bool:
        if self._oldest is None:
            return False
        late_ms = now_ms - self._oldest.pressed_ms - self.times.delivered_within_ms
        return late_ms < 0 or (late_ms // self.times.blink_ms) % 2 == 1

    def due_ms(self, now_ms: int) -> int | None:
        """When the lights change next, or a fault is due; None: only after another call."""
        dues = []
        if self._delivered_ms is not None:
            dues += [self._delivered_ms + self.times.buzzer_ms, self._delivered_ms + self.times.green_ms]
        if self._oldest is not None:
            late_from_ms = self._oldest.pressed_ms + self.times.delivered_within_ms
            dues.append(
                late_from_ms if now_ms < late_from_ms else now_ms + self.times.blink_ms - (now_ms - late_from_ms) % self.times.blink_ms
            )
        if self._fault_due_ms is not None:
            dues.append(self._fault_due_ms)
        return min((due for due in dues if due > now_ms), default=None)

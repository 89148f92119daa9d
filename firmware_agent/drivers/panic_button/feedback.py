"""What the person at the button sees and hears, as a pure state machine.

Amber at once; green and buzzer only when the SERVER has stored the press; amber blinks when that takes longer than the
delivery time ("not delivered, call by other means"); after the fault time a fault is reported, once per press.

Source: reference `edge.md` §2.4 (EN 54-21: fault within 100 s without the centre's acknowledgement).
"""

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
    event_id: EventId | None = None
    is_reported: bool = False


@dataclass
class Feedback:
    """Presses that wait for the server, and what to show for them."""

    times: Times = field(default_factory=Times)
    _waiting: list[_Waiting] = field(default_factory=list)
    _delivered_ms: int | None = None

    def pressed(self, at_ms: int) -> None:
        """Show a press before it is even stored."""
        self._waiting.append(_Waiting(at_ms))
        self._delivered_ms = None

    def stored(self, event_id: EventId) -> None:
        """The oldest press without an id is stored on this node under this one."""
        for waiting in self._waiting:
            if waiting.event_id is None:
                waiting.event_id = event_id
                return

    def acknowledged(self, event_id: EventId, now_ms: int) -> bool:
        """Show that the server has it; return whether anything waited for it."""
        remaining = [waiting for waiting in self._waiting if waiting.event_id != event_id]
        if len(remaining) == len(self._waiting):
            return False
        self._waiting = remaining
        self._delivered_ms = now_ms
        return True

    def overdue(self, now_ms: int) -> bool:
        """Return whether a press has now waited so long that it is a fault; True once per press."""
        late = [w for w in self._waiting if not w.is_reported and now_ms >= w.pressed_ms + self.times.fault_after_ms]
        for waiting in late:
            waiting.is_reported = True
        return bool(late)

    @property
    def is_undelivered(self) -> bool:
        """Whether a press was reported as not delivered and still is not."""
        return any(waiting.is_reported for waiting in self._waiting)

    def lights(self, now_ms: int) -> Lights:
        """Return what is on now."""
        since_ms = None if self._delivered_ms is None else now_ms - self._delivered_ms
        return Lights(
            amber=self._amber(now_ms),
            green=since_ms is not None and since_ms < self.times.green_ms,
            buzzer=since_ms is not None and since_ms < self.times.buzzer_ms,
        )

    def _amber(self, now_ms: int) -> bool:
        if not self._waiting:
            return False
        late_ms = now_ms - self._waiting[0].pressed_ms - self.times.delivered_within_ms
        return late_ms < 0 or (late_ms // self.times.blink_ms) % 2 == 1

    def due_ms(self, now_ms: int) -> int | None:
        """When the lights change next, or a fault is due; None: only after another call."""
        dues = []
        if self._delivered_ms is not None:
            dues += [self._delivered_ms + self.times.buzzer_ms, self._delivered_ms + self.times.green_ms]
        if self._waiting:
            late_from_ms = self._waiting[0].pressed_ms + self.times.delivered_within_ms
            dues.append(
                late_from_ms if now_ms < late_from_ms else now_ms + self.times.blink_ms - (now_ms - late_from_ms) % self.times.blink_ms
            )
        dues += [w.pressed_ms + self.times.fault_after_ms for w in self._waiting if not w.is_reported]
        return min((due for due in dues if due > now_ms), default=None)

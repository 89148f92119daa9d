"""The contact of a panic button as a pure state machine: raw edges and the passing of time in, signals out.

Rules, in order of weight:

- A contact that stays closed for the debounce time is a press, dated at the edge that closed it. The alarm is on the press.
- A contact found closed at the start is a press too (`is_boot_asserted`): it may be older than it looks, but is not ignored.
- Within the re-arm time of a press there is no second one: it is the same alarm, and only a press that was told has a release.
- A contact closed for the stuck time is reported once as stuck; it alarmed already, and alarms no more until it opens.
- With a second, antivalent contact (normally closed) the wiring is supervised: both equal for longer than the fault time is
  a wiring fault. A press is judged by the normally open contact alone, so that a fault never silences the button.

Source: reference `edge.md` §2.2, §2.3.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Sign(StrEnum):
    """What the contact says."""

    PRESS = "press"
    RELEASE = "release"
    STUCK = "stuck"
    STUCK_CLEARED = "stuck_cleared"
    FAULT = "fault"
    FAULT_CLEARED = "fault_cleared"


@dataclass(frozen=True)
class Signal:
    """One sign at its moment."""

    sign: Sign
    at_ms: int
    """Monotonic; for a press the edge that closed the contact."""
    is_boot_asserted: bool = False


@dataclass(frozen=True)
class Timing:
    """Times of the contact, milliseconds."""

    debounce_ms: int = 30
    rearm_ms: int = 500
    stuck_ms: int = 30_000
    fault_ms: int = 200


@dataclass
class _Stable:
    """A level that counts once it has been the same for a while."""

    after_ms: int
    level: bool | None = None
    """None until the first stable level."""
    _raw: bool | None = None
    _since_ms: int = 0

    def feed(self, at_ms: int, raw: bool) -> None:
        if raw != self._raw:
            self._raw, self._since_ms = raw, at_ms

    @property
    def due_ms(self) -> int | None:
        return None if self._raw is None or self._raw == self.level else self._since_ms + self.after_ms

    def settle(self, now_ms: int) -> int | None:
        """Take over a level that is due; return since when it holds, None when nothing changed."""
        due_ms = self.due_ms
        if due_ms is None or now_ms < due_ms:
            return None
        self.level = self._raw
        return self._since_ms


@dataclass
class Contact:
    """The state machine. Feed it edges in order, and call `tick` at (or soon after) each `due_ms`."""

    timing: Timing = field(default_factory=Timing)
    is_pair: bool = False

    def __post_init__(self) -> None:
        """Start without knowing anything."""
        self._open = _Stable(self.timing.debounce_ms)  # the normally open contact: True is pressed
        self._equal = _Stable(self.timing.fault_ms, level=False)  # both contacts say the same: True is a wiring fault
        self._raw: list[bool | None] = [None, None if self.is_pair else False]
        self._was_open = False
        self._pressed_ms: int | None = None
        self._closed_ms: int | None = None
        self._is_stuck = False
        self._is_told = False
        self._now_ms = 0

    @property
    def is_pressed(self) -> bool:
        """Whether the contact is closed (debounced)."""
        return self._open.level is True

    @property
    def is_known(self) -> bool:
        """Whether a level was ever seen long enough to be believed."""
        return self._open.level is not None

    @property
    def is_stuck(self) -> bool:
        """Whether it has been closed for too long."""
        return self._is_stuck

    @property
    def has_wire_fault(self) -> bool:
        """Whether the pair contradicts itself."""
        return self._equal.level is True

    @property
    def due_ms(self) -> int | None:
        """When `tick` has something to say at the earliest; None: only after another edge."""
        stuck_ms = None if self._closed_ms is None or self._is_stuck else self._closed_ms + self.timing.stuck_ms
        return min((due for due in (self._open.due_ms, self._equal.due_ms, stuck_ms) if due is not None), default=None)

    def edge(self, at_ms: int, level: bool, *, is_second: bool = False) -> list[Signal]:
        """Feed a raw level (a change, or one read anew). A time before an earlier one counts as that one.

        `is_second`: it is the level of the normally closed contact.
        """
        signals = self.tick(at_ms)
        self._raw[1 if is_second else 0] = level
        if not is_second:
            self._was_open = self._was_open or not level
            self._open.feed(self._now_ms, level)
        first, second = self._raw
        if self.is_pair and first is not None and second is not None:
            self._equal.feed(self._now_ms, first == second)
        return signals

    def tick(self, now_ms: int) -> list[Signal]:
        """Let time pass; return what became certain, in order."""
        signals: list[Signal] = []
        self._now_ms = max(self._now_ms, now_ms)
        while (due_ms := self.due_ms) is not None and due_ms <= self._now_ms:
            signals += self._advance(due_ms)
        return signals

    def _advance(self, due_ms: int) -> list[Signal]:
        """Do what is due at exactly this moment."""
        signals: list[Signal] = []
        was_known = self.is_known
        since_ms = self._open.settle(due_ms)
        if since_ms is not None:
            signals += self._closed(since_ms, is_boot=not self._was_open) if self.is_pressed else self._opened(since_ms, was_known)
        fault_ms = self._equal.settle(due_ms)
        if fault_ms is not None:
            signals.append(Signal(Sign.FAULT if self.has_wire_fault else Sign.FAULT_CLEARED, fault_ms))
        if self._closed_ms is not None and not self._is_stuck and due_ms >= self._closed_ms + self.timing.stuck_ms:
            self._is_stuck = True
            signals.append(Signal(Sign.STUCK, self._closed_ms + self.timing.stuck_ms))
        return signals

    def _closed(self, since_ms: int, *, is_boot: bool) -> list[Signal]:
        self._closed_ms, self._is_told = since_ms, False
        if self._pressed_ms is not None and since_ms - self._pressed_ms < self.timing.rearm_ms:
            return []
        self._pressed_ms, self._is_told = since_ms, True
        return [Signal(Sign.PRESS, since_ms, is_boot_asserted=is_boot)]

    def _opened(self, since_ms: int, was_known: bool) -> list[Signal]:
        self._closed_ms = None
        if not was_known:
            return []
        signals = [Signal(Sign.STUCK_CLEARED, since_ms)] if self._is_stuck else []
        self._is_stuck = False
        return [*signals, Signal(Sign.RELEASE, since_ms)] if self._is_told else signals

"""The panic button at work: lines in, events and evidence out, lights for the person who pressed."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import Action, EventType, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.moment import age_s, moment
from firmware_agent.drivers.panic_button.contact import Contact, Sign, Signal
from firmware_agent.drivers.panic_button.drill import MAX_WINDOW_S, Proof, Window
from firmware_agent.drivers.panic_button.feedback import Feedback, Lights
from firmware_agent.drivers.panic_button.settings import ButtonSettings
from firmware_agent.drivers.promise import CommandOutcome, Happening, Observation, Port
from firmware_agent.drivers.settings import parse
from firmware_agent.errors import AgentError
from firmware_agent.gpio import Edge, GpioUnavailable, InputLine, LineSettings, OutputLine, open_gpio

_PROOF: Final = "proof"
_PENDING: Final = "pending_proof"
_DEFAULT_DRILL_S: Final = 600.0
_DAY_S: Final = 86_400.0
_RETRY_S: Final = 1.0
_TTL_SHARE: Final = 2.5

_EVENTS: Final = {
    Sign.PRESS: EventType.PRESS,
    Sign.RELEASE: EventType.RELEASE,
    Sign.STUCK: EventType.STUCK,
    Sign.STUCK_CLEARED: EventType.STUCK_CLEARED,
    Sign.FAULT: EventType.FAULT,
    Sign.FAULT_CLEARED: EventType.FAULT_CLEARED,
}
_CAUSES: Final = {Sign.FAULT: "wire_fault", Sign.FAULT_CLEARED: "wire_fault"}

_log = logging.getLogger(__name__)


def create(settings: Mapping[str, Any], port: Port) -> "PanicButton":
    """Return the driver of a panic button (entry point `panic_button`).

    Raises:
        ConfigurationError: a setting is missing, unknown or wrong.
    """
    return PanicButton(parse(settings, ButtonSettings, port.channel), port)


class PanicButton:
    """One button. All methods run on the agent's event loop; signals are told to the port in the order they came."""

    kind: Final = Kind.PANIC_BUTTON
    functions: Final = (Function.PRESS,)

    def __init__(self, settings: ButtonSettings, port: Port) -> None:
        """Opens nothing."""
        self.is_simulated: Final = settings.is_simulated or settings.gpio.startswith("simulated:")
        self._settings: Final = settings
        self._port: Final = port
        self._contact = Contact(settings.timing, is_pair=settings.line_nc is not None)
        self._feedback = Feedback(settings.times)
        self._window = Window()
        self._inputs: list[InputLine] = []
        self._outputs: dict[str, OutputLine] = {}
        self._lights = Lights()
        self._untold: deque[Happening] = deque()
        self._early: deque[EventId] = deque(maxlen=64)
        self._unreadable_seen = False
        self._has_dark_light = False
        self._wake = asyncio.Event()
        self._has_untold = asyncio.Event()
        self._last: tuple[Verdict, str] | None = None

    async def run(self) -> None:
        """See `Driver`."""
        await self._open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name=f"{self._port.channel}:watch")
            tasks.create_task(self._tell(), name=f"{self._port.channel}:tell")

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """Begin or end a drill: `drill.begin {"duration_s": 600}` (at most 1800), `drill.end`."""
        match action:
            case Action.DRILL_BEGIN:
                return self._begin_drill(args.get("duration_s", _DEFAULT_DRILL_S))
            case Action.DRILL_END:
                self._window.end()
                return CommandOutcome(ResultStatus.SUCCEEDED, "The drill is over; presses are meant.")
            case _:
                return CommandOutcome(ResultStatus.REJECTED, f"A panic button does not know {action.value}.")

    def acknowledged(self, event_id: EventId) -> None:
        """See `Driver`: the green light, and the proof of the button."""
        pending = Proof.from_text(self._port.memory().get(_PENDING))
        if pending is not None and pending.event_id == event_id:
            self._port.memory().set(_PROOF, pending.to_text())
        now_ms, was_late = self._port.clock.mono_ms(), self._feedback.is_undelivered
        if not self._feedback.acknowledged(event_id, now_ms):
            self._early.append(event_id)
        elif was_late and not self._feedback.is_undelivered:
            self._say(Happening(EventType.FAULT_CLEARED, now_ms, cause="not_delivered"))
        self._wake.set()

    def _begin_drill(self, duration_s: Any) -> CommandOutcome:
        if not isinstance(duration_s, int | float) or isinstance(duration_s, bool) or not 0 < duration_s <= MAX_WINDOW_S:
            return CommandOutcome(ResultStatus.REJECTED, f"duration_s must be over 0 and at most {MAX_WINDOW_S}.")
        self._window.begin(self._port.clock.mono_ms(), duration_s)
        message = f"Presses of the next {duration_s:.0f} s are drills."
        return CommandOutcome(ResultStatus.SUCCEEDED, message, {"duration_s": float(duration_s)})

    async def _open(self) -> None:
        settings = self._settings
        gpio = self._port.shared(f"gpio:{settings.gpio}", lambda: open_gpio(settings.gpio))
        wiring = LineSettings(settings.wiring, settings.is_active_low)
        for name in ("led_amber", "led_green", "buzzer"):
            line = getattr(settings, name)
            try:
                if line is not None:
                    self._outputs[name] = await gpio.drive(line)
            except GpioUnavailable as error:  # a light that stays dark must not silence the button
                self._has_dark_light = True
                _log.error("%s: %s stays dark: %s", self._port.channel, name, error)
        for line in (settings.line, settings.line_nc):
            if line is not None:
                self._inputs.append(await gpio.watch(line, wiring, self._on_edge))
        self._read_anew()

    def _on_edge(self, edge: Edge) -> None:
        self._unreadable_seen = False
        self._take(self._contact.edge(edge.at_mono_ms, edge.level, is_second=edge.line == self._settings.line_nc))
        self._wake.set()

    def _read_anew(self) -> None:
        """Feed the levels as they are: at the start, and with each check in case an edge was lost."""
        now_ms = self._port.clock.mono_ms()
        try:
            levels = [line.read() for line in self._inputs]
        except GpioUnavailable as error:
            if not self._unreadable_seen:
                _log.error("%s: %s", self._port.channel, error)
            self._unreadable_seen = True
            return
        self._unreadable_seen = False
        for i, level in enumerate(levels):
            self._take(self._contact.edge(now_ms, level, is_second=i == 1))

    def _take(self, signals: list[Signal]) -> None:
        """Queue what must be told, and show a press at once."""
        for signal in signals:
            is_press = signal.sign is Sign.PRESS
            if is_press:
                self._feedback.pressed(signal.at_ms)
            self._say(
                Happening(
                    _EVENTS[signal.sign],
                    signal.at_ms,
                    is_drill=is_press and self._window.holds(signal.at_ms),
                    is_boot_asserted=signal.is_boot_asserted,
                    cause=_CAUSES.get(signal.sign, ""),
                )
            )
        if signals:
            self._show()

    def _say(self, happening: Happening) -> None:
        self._untold.append(happening)
        self._has_untold.set()

    async def _watch(self) -> None:
        """Let time pass for the contact and the lights, and give evidence at each change and each interval."""
        clock = self._port.clock
        check_ms = clock.mono_ms()
        while True:
            self._wake.clear()
            now_ms = clock.mono_ms()
            self._take(self._contact.tick(now_ms))
            if now_ms >= check_ms:
                self._read_anew()
                check_ms = now_ms + int(self._settings.check_interval_s * 1000)
                self._observe(is_due=True)
            if self._feedback.overdue(now_ms):
                self._say(Happening(EventType.FAULT, now_ms, cause="not_delivered"))
            self._show()
            self._observe(is_due=False)
            dues = (check_ms, self._contact.due_ms, self._feedback.due_ms(now_ms))
            await self._sleep_until(min(due for due in dues if due is not None))

    async def _sleep_until(self, due_ms: int) -> None:
        wait_s = max(0.001, (due_ms - self._port.clock.mono_ms()) / 1000)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _tell(self) -> None:
        """Store events on the node in order; when stopped, what is still untold is told first."""
        try:
            while True:
                await self._has_untold.wait()
                self._has_untold.clear()
                await self._tell_all()
        finally:
            if self._untold:
                await asyncio.shield(asyncio.ensure_future(self._tell_rest()))

    async def _tell_all(self) -> None:
        """Store what is untold; an event that cannot be stored now stays the first, and is tried again until it is."""
        while self._untold:
            happening = self._untold.popleft()
            try:
                event_id = await asyncio.shield(asyncio.ensure_future(self._port.happen(happening)))
            except AgentError as error:
                self._untold.appendleft(happening)
                _log.error("%s: %s cannot be stored yet: %s", self._port.channel, happening.type.value, error)
                await asyncio.sleep(_RETRY_S)
                continue
            if happening.type is EventType.PRESS:
                self._stored(happening, event_id)

    async def _tell_rest(self) -> None:
        while self._untold:
            await self._port.happen(self._untold.popleft())

    def _stored(self, happening: Happening, event_id: EventId) -> None:
        self._feedback.stored(event_id)
        if not happening.is_boot_asserted:
            proof = Proof(event_id, moment(self._port.clock, happening.occurred_mono_ms))
            self._port.memory().set(_PENDING, proof.to_text())
        if event_id in self._early:
            self.acknowledged(event_id)
        self._wake.set()

    def _show(self) -> None:
        lights = self._feedback.lights(self._port.clock.mono_ms())
        if lights == self._lights:
            return
        self._lights = lights
        for name, level in (("led_amber", lights.amber), ("led_green", lights.green), ("buzzer", lights.buzzer)):
            if name in self._outputs:
                self._outputs[name].set(level)

    def _observe(self, *, is_due: bool) -> None:
        if not (self._contact.is_known or self._unreadable_seen):
            return  # just started: nothing was seen yet
        proof = Proof.from_text(self._port.memory().get(_PROOF))
        age = None if proof is None else age_s(proof.pressed, self._port.clock)
        verdict, cause = self._judge(proof, age)
        if not is_due and (verdict, cause) == self._last:
            return
        self._last = (verdict, cause)
        metrics = {} if age is None else {"drill_age_s": age}
        ttl_ms = int(_TTL_SHARE * self._settings.check_interval_s * 1000)
        self._port.observe(Observation(Function.PRESS, verdict, self._port.clock.mono_ms(), ttl_ms, cause, metrics))

    def _judge(self, proof: Proof | None, age: float | None) -> tuple[Verdict, str]:
        if self._unreadable_seen:
            return Verdict.FAILED, "gpio_unreadable"
        if self._contact.has_wire_fault:
            return Verdict.FAILED, "wire_fault"
        if self._contact.is_stuck:
            return Verdict.FAILED, "stuck"
        if proof is None:
            return Verdict.UNKNOWN, "never_tested"
        if age is None:
            return Verdict.UNKNOWN, "clock_untrusted"
        if age > self._settings.drill_max_age_days * _DAY_S:
            return Verdict.UNKNOWN, "test_overdue"
        if self._has_dark_light:
            return Verdict.DEGRADED, "lights_unavailable"
        return Verdict.WORKING, ""

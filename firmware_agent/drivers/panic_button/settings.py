"""Settings of a panic button."""

from typing import Annotated, Literal

from msgspec import Meta

from firmware_agent.drivers.panic_button.contact import Timing
from firmware_agent.drivers.panic_button.feedback import Times
from firmware_agent.drivers.settings import Settings
from firmware_agent.gpio import Bias

Line = Annotated[int, Meta(ge=0, le=1023)]
Ms = Annotated[int, Meta(ge=1, le=600_000)]


class ButtonSettings(Settings, frozen=True):
    """How the button is wired and how it behaves; lines are the chip's offsets (on a Pi the BCM numbers)."""

    gpio: Annotated[str, Meta(pattern=r"^(gpiochip|simulated):.+$")]
    """`gpiochip:<label>`, such as `gpiochip:pinctrl-bcm2711`, or `simulated:<Unix socket>`."""
    line: Line
    """Normally open contact."""
    line_nc: Line | None = None
    """Normally closed contact of an antivalent pair; without it a cut wire cannot be seen."""
    is_active_low: bool = True
    bias: Literal["pull_up", "pull_down", "none"] = "pull_up"
    led_amber: Line | None = None
    led_green: Line | None = None
    buzzer: Line | None = None
    debounce_ms: Ms = 30
    rearm_ms: Ms = 500
    stuck_ms: Ms = 30_000
    wire_fault_ms: Ms = 200
    delivered_within_ms: Ms = 10_000
    """After this time without the server's word amber blinks."""
    fault_after_ms: Ms = 100_000
    """After this time without the server's word a fault is reported."""
    drill_max_age_days: Annotated[float, Meta(gt=0, le=366)] = 30.0
    """A button whose last proven press is older is `unknown`."""
    check_interval_s: Annotated[float, Meta(ge=0.2, le=600)] = 10.0

    @property
    def timing(self) -> Timing:
        """Times of the contact."""
        return Timing(self.debounce_ms, self.rearm_ms, self.stuck_ms, self.wire_fault_ms)

    @property
    def times(self) -> Times:
        """Times of the feedback."""
        return Times(self.delivered_within_ms, self.fault_after_ms)

    @property
    def wiring(self) -> Bias:
        """What holds the open contact."""
        return Bias(self.bias)

"""Lines of the Pi's header behind one promise: the real chip (`gpiod_port`) or a simulated one (`simulated`)."""

from firmware_agent.gpio.address import open_gpio
from firmware_agent.gpio.promise import Bias, Edge, GpioPort, GpioUnavailable, InputLine, LineSettings, OutputLine

__all__ = ["Bias", "Edge", "GpioPort", "GpioUnavailable", "InputLine", "LineSettings", "OutputLine", "open_gpio"]

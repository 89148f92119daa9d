"""Which lines a setting means: `gpiochip:<label>` or `simulated:<path of a Unix socket>`."""

from pathlib import Path

from firmware_agent.errors import ConfigurationError
from firmware_agent.gpio.promise import GpioPort


def open_gpio(address: str) -> GpioPort:
    """Return the port at `address`; nothing is opened yet.

    Raises:
        ConfigurationError: no such kind of address, or the extra `gpio` is not installed.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "gpiochip" and rest:
        from firmware_agent.gpio.gpiod_port import GpiodPort  # only a Pi has the library

        return GpiodPort(rest)
    if scheme == "simulated" and rest:
        from firmware_agent.gpio.simulated import SimulatedGpio

        return SimulatedGpio(Path(rest))
    raise ConfigurationError(f'gpio: "{address}" is neither "gpiochip:<label>" nor "simulated:<socket>"')

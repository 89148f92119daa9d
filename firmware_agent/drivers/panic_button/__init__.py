"""Panic button: a contact on a GPIO line, two lights and a buzzer. The alarm is on the press, never on the release."""

from firmware_agent.drivers.panic_button.driver import PanicButton, create

__all__ = ["PanicButton", "create"]

"""Street light: a Modbus relay that switches it and a power meter that proves it."""

from firmware_agent.drivers.street_light.driver import StreetLight, create

__all__ = ["StreetLight", "create"]

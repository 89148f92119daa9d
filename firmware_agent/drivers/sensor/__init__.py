"""Sensor: one number read over Modbus by a profile."""

from firmware_agent.drivers.sensor.driver import Sensor, create

__all__ = ["Sensor", "create"]

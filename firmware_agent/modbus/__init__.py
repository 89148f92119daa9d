"""Modbus behind one module: buses, profiles as data, plain errors. Nothing else of the agent imports pymodbus."""

from firmware_agent.modbus.bus import ModbusBus, UnitQuarantined, UnitRefused, UnitSilent, open_bus
from firmware_agent.modbus.profile import Coil, Register, Table

__all__ = ["Coil", "ModbusBus", "Register", "Table", "UnitQuarantined", "UnitRefused", "UnitSilent", "open_bus"]

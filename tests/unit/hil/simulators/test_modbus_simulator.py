import pytest

from hil.simulators.modbus import ModbusSimulator


async def test_unknown_faults_are_refused() -> None:
    bus = ModbusSimulator()
    with pytest.raises(ValueError, match="melted"):
        await bus.add_lamp("l").fault("melted")
    with pytest.raises(ValueError, match="melted"):
        await bus.add_sensor("s").fault("melted")
    with pytest.raises(ValueError, match="melted"):
        await bus.fault("melted")


async def test_a_bus_keeps_its_port_over_an_outage() -> None:
    bus = ModbusSimulator()
    bus.add_lamp("l")
    async with bus:
        port = bus.port
        await bus.fault("dead")
        await bus.fault("ok")
        assert bus.port == port

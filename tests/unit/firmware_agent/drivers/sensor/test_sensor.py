from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firmware_agent.contract.vocabulary import Action, Function, ResultStatus, Verdict
from firmware_agent.drivers.sensor import create
from firmware_agent.errors import ConfigurationError
from hil.simulators.modbus import ModbusSimulator, SimulatedSensor
from tests.unit.firmware_agent.drivers.live_port import LivePort, running

FAST = {"poll_interval_s": 0.3, "timeout_s": 0.3}


@pytest.fixture
async def sensor() -> AsyncIterator[SimulatedSensor]:
    bus = ModbusSimulator()
    sensor = bus.add_sensor("air-1", reading=23.5)
    async with bus:
        yield sensor


@pytest.mark.parametrize(
    ("fault", "cause"), [("out_of_range", "out_of_range"), ("exception", "modbus_exception"), ("silent", "unreachable")]
)
async def test_faults_are_seen_and_heal(sensor: SimulatedSensor, fault: str, cause: str) -> None:
    port = LivePort("air-1")
    async with running(create({**sensor.settings(), **FAST}, port), port):
        await port.saw(Function.READING, Verdict.WORKING)
        assert 20 < port.metrics(Function.READING)["reading"] < 27
        await sensor.fault(fault)
        await port.saw(Function.READING, Verdict.FAILED, cause)
        await sensor.fault("ok")
        await port.saw(Function.READING, Verdict.WORKING)


async def test_a_profile_of_ones_own(sensor: SimulatedSensor, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('description = "Mine"\n[reading]\ntable = "holding"\naddress = 0\ndatatype = "uint16"\nscale = 10\nmax = 1e9\n')
    port = LivePort("air-1")
    async with running(create({**sensor.settings(), **FAST, "profile": str(profile)}, port), port):
        await port.saw(Function.READING, Verdict.WORKING)
        assert port.metrics(Function.READING)["reading"] > 1000


async def test_it_knows_no_command(sensor: SimulatedSensor) -> None:
    outcome = await create(sensor.settings(), LivePort()).command(Action.LAMP_OVERRIDE, {}, 0)
    assert outcome.status is ResultStatus.REJECTED


@pytest.mark.parametrize(
    ("change", "words"),
    [({"unit": 0}, "unit"), ({"profile": "x"}, "pm25"), ({"bus": "tcp://"}, "bus"), ({"bus": "rtu:///dev/ttyUSB0?speed=9"}, "speed")],
)
async def test_wrong_settings_are_named(sensor: SimulatedSensor, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"air-1.*{words}"):
        create({**sensor.settings(), **change}, LivePort("air-1"))

import asyncio
import math
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.drivers.sensor.driver import SensorProfile
from firmware_agent.drivers.street_light.settings import MeterProfile, RelayProfile
from firmware_agent.errors import ConfigurationError
from firmware_agent.modbus import Register, Table, UnitQuarantined, UnitRefused, UnitSilent, open_bus
from firmware_agent.modbus.address import BusAddress, parse_bus
from firmware_agent.modbus.profile import Datatype, load_profile
from firmware_agent.modbus.quarantine import Quarantine
from hil.simulators.modbus import ModbusSimulator

READING = Register(Table.HOLDING, 0, Datatype.UINT16, scale=0.1)


def test_addresses() -> None:
    assert parse_bus("tcp://10.0.0.5") == BusAddress("tcp", "10.0.0.5", 502)
    assert parse_bus("rtu-tcp://gw:4001") == BusAddress("rtu-tcp", "gw", 4001)
    serial = parse_bus("rtu:///dev/ttyUSB0?baudrate=19200&parity=e&stopbits=2")
    assert serial == BusAddress("rtu", tty="/dev/ttyUSB0", baudrate=19200, parity="E", stopbits=2)
    assert str(serial) == "rtu:///dev/ttyUSB0"


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.5", "tcp://", "tcp://x:99999", "rtu://ttyUSB0", "rtu:///dev/t?parity=X", "rtu:///dev/t?baudrate=fast", "rtu:///dev/t?x"],
)
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="bus"):
        parse_bus(text)


def test_a_dead_unit_takes_at_most_a_tenth_of_the_bus() -> None:
    quarantine = Quarantine()
    assert [quarantine.silent(7, 0, 1000) for _ in range(3)] == [0, 0, 10_000]
    assert quarantine.rest_ms(7, 9_999) == 1
    assert quarantine.rest_ms(7, 10_000) == 0
    assert quarantine.rest_ms(8, 0) == 0
    assert quarantine.silent(7, 10_000, 1000) == 10_000
    quarantine.answered(7)
    assert quarantine.rest_ms(7, 10_001) == 0
    assert quarantine.silent(7, 10_001, 1000) == 0


def test_the_rest_is_bounded() -> None:
    quarantine = Quarantine()
    assert [quarantine.silent(1, 0, 90_000) for _ in range(3)][-1] == 60_000


@pytest.mark.parametrize(
    ("datatype", "registers", "value"),
    [
        (Datatype.UINT16, [0xFFFF], 65535.0),
        (Datatype.INT16, [0xFFFF], -1.0),
        (Datatype.UINT32, [1, 2], 65538.0),
        (Datatype.INT32, [0xFFFF, 0xFFFE], -2.0),
        (Datatype.FLOAT32, [0x4366, 0x3333], 230.199997),
    ],
)
def test_numbers(datatype: Datatype, registers: list[int], value: float) -> None:
    assert Register(Table.INPUT, 0, datatype).decode(registers) == pytest.approx(value)
    assert Register(Table.INPUT, 0, datatype, is_little_word_order=True).decode(registers[::-1]) == pytest.approx(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_survive(value: float) -> None:
    words = list(struct.unpack(">HH", struct.pack(">f", value)))
    assert Register(Table.INPUT, 0, Datatype.FLOAT32).decode(words) == pytest.approx(value, abs=1e-6)


def test_not_a_number_is_not_plausible() -> None:
    register = Register(Table.INPUT, 0, Datatype.FLOAT32, min=0, max=10)
    assert not register.is_plausible(math.nan)
    assert not register.is_plausible(10.1)
    assert register.is_plausible(10)
    with pytest.raises(ValueError, match="registers"):
        register.decode([1])


@pytest.mark.parametrize(
    ("package", "kinds"),
    [
        ("firmware_agent.drivers.street_light", (MeterProfile, RelayProfile)),
        ("firmware_agent.drivers.sensor", (SensorProfile,)),
    ],
)
def test_every_shipped_profile_can_be_read(package: str, kinds: tuple[type[msgspec.Struct], ...]) -> None:
    names = [entry.name.removesuffix(".toml") for entry in (resources.files(package) / "profiles").iterdir()]
    assert names
    for name in names:
        readable = []
        for kind in kinds:
            try:
                readable.append(load_profile(name, kind, package))
            except ConfigurationError:
                continue
        assert len(readable) == 1, name


def test_a_wrong_profile_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('description = "x"\n[reading]\ntable = "coil"\naddress = 0\ndatatype = "uint16"\n')
    with pytest.raises(ConfigurationError, match=r"wrong\.toml.*reading\.table"):
        load_profile(str(wrong), SensorProfile, "firmware_agent.drivers.sensor")
    wrong.write_bytes(b"description = '\xff'")
    with pytest.raises(ConfigurationError, match=r"wrong\.toml"):
        load_profile(str(wrong), SensorProfile, "firmware_agent.drivers.sensor")
    wrong.write_text("description = ")
    with pytest.raises(ConfigurationError, match=r"wrong\.toml"):
        load_profile(str(wrong), SensorProfile, "firmware_agent.drivers.sensor")


async def test_both_error_channels_are_told_apart() -> None:
    simulator = ModbusSimulator()
    sensor = simulator.add_sensor("s", reading=20)
    async with simulator:
        bus = open_bus(simulator.address, timeout_s=0.2)
        assert 19 < await bus.read(sensor.unit, READING) < 21
        await sensor.fault("exception", code=2)
        with pytest.raises(UnitRefused, match="illegal address") as refused:
            await bus.read(sensor.unit, READING)
        assert refused.value.code == 2
        await sensor.fault("exception", code=11)
        with pytest.raises(UnitSilent, match="gateway target silent"):
            await bus.read(sensor.unit, READING)
        await sensor.fault("silent")
        with pytest.raises(UnitSilent):
            await bus.read(sensor.unit, READING)
        await bus.aclose()


async def test_a_dead_unit_is_left_alone_and_the_others_go_on() -> None:
    simulator = ModbusSimulator()
    dead, alive = simulator.add_sensor("dead"), simulator.add_sensor("alive")
    async with simulator:
        bus = open_bus(simulator.address, timeout_s=0.1, retries=0)
        await dead.fault("silent")
        for _ in range(3):
            with pytest.raises(UnitSilent) as silent:
                await bus.read(dead.unit, READING)
        assert silent.value.rest_ms >= 900
        with pytest.raises(UnitQuarantined):
            await bus.read(dead.unit, READING)
        assert await bus.read(alive.unit, READING) > 0
        await dead.fault("ok")
        await asyncio.sleep(silent.value.rest_ms / 1000)
        assert await bus.read(dead.unit, READING) > 0
        await bus.aclose()


async def test_a_bus_that_is_not_there_and_comes_back() -> None:
    simulator = ModbusSimulator()
    sensor = simulator.add_sensor("s")
    async with simulator:
        bus = open_bus(simulator.address, timeout_s=0.2)
        await bus.read(sensor.unit, READING)
        await simulator.fault("dead")
        with pytest.raises(UnitSilent):
            await bus.read(sensor.unit, READING)
        await simulator.fault("ok")
        assert await bus.read(sensor.unit, READING) > 0
        await bus.aclose()


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bus = open_bus(f"tcp://127.0.0.1:{port}", timeout_s=0.2)
    with pytest.raises(UnitSilent, match="no connection"):
        await bus.read(1, READING)
    await bus.aclose()


@asynccontextmanager
async def answering(answer: Callable[[int], bytes]) -> AsyncIterator[str]:
    """Serve a unit that answers each request with what `answer` makes of its transaction number; give the bus."""

    handlers: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                transaction, _, length = struct.unpack(">HHH", await reader.readexactly(6))
                await reader.readexactly(length)
                writer.write(answer(transaction))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait(handlers, timeout=10)


def framed(pdu: bytes) -> Callable[[int], bytes]:
    return lambda transaction: struct.pack(">HHHB", transaction, 0, len(pdu) + 1, 1) + pdu


COIL, VOLTAGE = "coil", Register(Table.INPUT, 0, Datatype.FLOAT32)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (COIL, framed(b"\x01")),
        (COIL, framed(b"\x01\x00")),
        (COIL, framed(b"\x05\x00\x00\xff\x00")),
        (COIL, framed(b"\x03\x02\x00\x01")),
        (READING, framed(b"\x03")),
        (READING, framed(b"\x03\x00")),
        (READING, framed(b"\x04\x02\x00\x01")),
        (VOLTAGE, framed(b"\x04\x02\x43\x66")),
        (VOLTAGE, framed(b"\x03\x04\x43\x66\x33\x33")),
        (READING, framed(b"")),
        (READING, lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (READING, lambda _: bytes(range(256)) * 8),
    ],
)
async def test_garbage_is_silence_and_fills_no_log(
    asked: Register | str, answer: Callable[[int], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(answer) as address:
        bus = open_bus(address, timeout_s=0.2, retries=0)
        with pytest.raises(UnitSilent):
            await (bus.read(1, asked) if isinstance(asked, Register) else bus.read_coil(1, 0))
        await bus.aclose()
    assert caplog.records == []


async def test_many_ask_at_once() -> None:
    simulator = ModbusSimulator()
    lamp = simulator.add_lamp("l")
    async with simulator:
        bus = open_bus(simulator.address, timeout_s=1.0)
        answers = await asyncio.gather(*(bus.read_coil(lamp.unit, 0) for _ in range(50)))
        assert answers == [True] * 50
        await bus.write_coil(lamp.unit, 0, False)
        assert not await bus.read_coil(lamp.unit, 0)
        await bus.aclose()

"""Simulated Modbus devices on one TCP bus: lamps (relay and meter in one unit) and sensors.

State is driven through the devices' `action`, never by writing the server's memory; silence is made by dropping the answer.

Source: reference `edge.md` §3.5; pymodbus 3.16.1.
"""

import asyncio
import logging
import random
import struct
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

_HOST: Final = "127.0.0.1"
_MBAP_UNIT: Final = 6
"""Where the unit's number stands in a Modbus TCP packet."""
_VOLTAGE, _POWER = 0x0000, 0x000C  # Eastron SDM: float32 input registers
_STANDBY_W: Final = 0.4

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class _Unit(Protocol):
    is_silent: bool

    @property
    def unit(self) -> int: ...

    def device(self) -> SimDevice: ...


class Lamp:
    """A lamp with its relay (coil 0) and its meter (Eastron SDM registers) as one unit."""

    def __init__(self, unit: int, bus: "ModbusSimulator", *, rated_w: float) -> None:
        """A healthy lamp, switched on."""
        self.unit: Final = unit
        self.is_silent = False
        self.coil = True
        self._bus: Final = bus
        self._rated_w: Final = rated_w
        self._is_burnt_out = False
        self._is_welded = False
        self._is_open = False
        self._factor = 1.0
        self._voltage_v = 230.0

    def settings(self) -> dict[str, Any]:
        """Return the settings of the driver `street_light` for this lamp."""
        return {
            "bus": self._bus.address,
            "relay_unit": self.unit,
            "meter_unit": self.unit,
            "rated_w": self._rated_w,
            "is_simulated": True,
        }

    @property
    def is_lit(self) -> bool:
        """Whether it gives light."""
        has_current = (self.coil or self._is_welded) and not self._is_open and self._voltage_v > 50
        return has_current and not self._is_burnt_out

    @property
    def power_w(self) -> float:
        """What the meter shows, with a little noise."""
        if self._voltage_v <= 50:
            return 0.0
        drawn = self._rated_w * self._factor if self.is_lit else _STANDBY_W
        return drawn * random.uniform(0.99, 1.01)

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal it.

        `burnt_out`; `relay_welded` (always on); `relay_open` (never on); `dim` (factor=0.5); `voltage` (volts=0); `silent`; `ok`.

        Raises:
            ValueError: no such fault.
        """
        match name:
            case "ok":
                self._is_burnt_out = self._is_welded = self._is_open = self.is_silent = False
                self._factor, self._voltage_v = 1.0, 230.0
            case "burnt_out":
                self._is_burnt_out = True
            case "relay_welded":
                self._is_welded = True
            case "relay_open":
                self._is_open = True
            case "dim":
                self._factor = float(args.get("factor", 0.5))
            case "voltage":
                self._voltage_v = float(args.get("volts", 0.0))
            case "silent":
                self.is_silent = True
            case _:
                raise ValueError(f"a lamp has no fault {name!r}")

    def device(self) -> SimDevice:
        """Return it as the server holds it."""
        bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        return SimDevice(
            id=self.unit,
            simdata=(
                bits,
                list(bits),
                [SimData(0, count=1, datatype=DataType.REGISTERS)],
                [SimData(0, count=32, datatype=DataType.REGISTERS)],
            ),
            action=self._act,
        )

    async def _act(
        self, code: int, start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        if code in (5, 15) and values is not None and address == 0:
            self.coil = bool(values[0])
        elif code == 1:
            registers[0] = int(self.coil)
        elif code == 4:
            registers[_VOLTAGE - start : _VOLTAGE - start + 2] = _float32(self._voltage_v * random.uniform(0.998, 1.002))
            registers[_POWER - start : _POWER - start + 2] = _float32(self.power_w)
        return None


class SimulatedSensor:
    """A PM2.5 transmitter: holding register 0, tenths."""

    def __init__(self, unit: int, bus: "ModbusSimulator", *, reading: float) -> None:
        """A healthy sensor near `reading`."""
        self.unit: Final = unit
        self.is_silent = False
        self.reading = reading
        self._bus: Final = bus
        self._exception: ExcCodes | None = None
        self._forced: float | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings of the driver `sensor` for this sensor."""
        return {"bus": self._bus.address, "unit": self.unit, "profile": "pm25", "is_simulated": True}

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal it: `out_of_range` (value=6500), `exception` (code=4), `silent`, `ok`.

        Raises:
            ValueError: no such fault.
        """
        match name:
            case "ok":
                self.is_silent, self._exception, self._forced = False, None, None
            case "out_of_range":
                self._forced = float(args.get("value", 6500.0))
            case "exception":
                self._exception = ExcCodes(int(args.get("code", 4)))
            case "silent":
                self.is_silent = True
            case _:
                raise ValueError(f"a sensor has no fault {name!r}")

    def device(self) -> SimDevice:
        """Return it as the server holds it."""
        return SimDevice(id=self.unit, simdata=[SimData(0, count=4, datatype=DataType.REGISTERS)], action=self._act)

    async def _act(
        self, code: int, start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        if self._exception is not None:
            return self._exception
        value = self.reading * random.uniform(0.97, 1.03) if self._forced is None else self._forced
        registers[0 - start] = max(0, min(65_535, round(value * 10)))
        return None


class ModbusSimulator:
    """One bus on a loopback port. Add the units before it is entered."""

    def __init__(self, port: int = 0) -> None:
        """0: any free port, known once it is entered."""
        self.port = port
        self.lamps: Final[dict[str, Lamp]] = {}
        self.sensors: Final[dict[str, SimulatedSensor]] = {}
        self._server: ModbusTcpServer | None = None

    @property
    def address(self) -> str:
        """The bus as settings name it; only once it is entered."""
        assert self.port, "the simulator is not running"
        return f"tcp://{_HOST}:{self.port}"

    def add_lamp(self, name: str, *, rated_w: float = 60.0) -> Lamp:
        """Return a new lamp."""
        lamp = self.lamps[name] = Lamp(self._next_unit(), self, rated_w=rated_w)
        return lamp

    def add_sensor(self, name: str, *, reading: float = 23.5) -> SimulatedSensor:
        """Return a new sensor."""
        sensor = self.sensors[name] = SimulatedSensor(self._next_unit(), self, reading=reading)
        return sensor

    async def __aenter__(self) -> "ModbusSimulator":
        """Serve the bus."""
        await self._serve()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop all connections and stop."""
        await self._stop()

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal the bus itself: `dead` (connections are refused), `ok`.

        Raises:
            ValueError: no such fault.
        """
        match name:
            case "ok":
                if self._server is None:
                    await self._serve()
            case "dead":
                await self._stop()
            case _:
                raise ValueError(f"a bus has no fault {name!r}")

    def _next_unit(self) -> int:
        assert self._server is None, "add units before the simulator runs"
        return 1 + len(self.lamps) + len(self.sensors)

    def _units(self) -> list[_Unit]:
        return [*self.lamps.values(), *self.sensors.values()]

    async def _serve(self) -> None:
        self._server = ModbusTcpServer([unit.device() for unit in self._units()], address=(_HOST, self.port), trace_packet=self._filter)
        await self._server.serve_forever(background=True)
        transport: Any = self._server.transport
        self.port = transport.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(asyncio.CancelledError):
                await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

    def _filter(self, is_sending: bool, data: bytes) -> bytes:
        silent = {unit.unit for unit in self._units() if unit.is_silent}
        return b"" if is_sending and len(data) > _MBAP_UNIT and data[_MBAP_UNIT] in silent else data


def _float32(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))

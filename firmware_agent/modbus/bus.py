"""One Modbus bus: one client and one lock, however many devices stand on it. The only module that imports pymodbus.

pymodbus says that something went wrong in two ways, by exceptions and by answers that `isError()`; both become ours here.

Source: reference `edge.md` §3.5; pymodbus 3.16.1 (pinned: its minor versions break the interface).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from firmware_agent.errors import ConfigurationError, Rejected, Transient
from firmware_agent.modbus.address import BusAddress, parse_bus
from firmware_agent.modbus.profile import Register, Table
from firmware_agent.modbus.quarantine import Quarantine

_MARGIN_S: Final = 1.0
_EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target silent",
}
_GATEWAY_SILENT: Final = frozenset({10, 11})

_log = logging.getLogger(__name__)
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it dumps packets at ERROR; what matters is logged here, once


def _is_no_garbage(record: logging.LogRecord) -> bool:
    """Whether a record of asyncio's is about something else than a frame that pymodbus could not read: a page of log for each."""
    return not (record.exc_info and isinstance(record.exc_info[1], ModbusException))


logging.getLogger("asyncio").addFilter(_is_no_garbage)


class UnitSilent(Transient):
    """The unit did not answer (or its bus is not there)."""

    def __init__(self, message: str, *, rest_ms: int = 0) -> None:
        """`rest_ms`: how long it is left alone now."""
        super().__init__(message)
        self.rest_ms = rest_ms


class UnitQuarantined(UnitSilent):
    """The unit was silent lately and was not asked again yet: nothing new is known."""


class UnitRefused(Rejected):
    """The unit answered with a Modbus exception: it does not have what it was asked for."""

    def __init__(self, message: str, *, code: int) -> None:
        """`code` is the Modbus exception code."""
        super().__init__(message)
        self.code = code


def open_bus(text: str, *, timeout_s: float = 1.0, retries: int = 1) -> "ModbusBus":
    """Return the bus at an address (see `address`); nothing is opened yet.

    Raises:
        ConfigurationError: it is no address of a bus.
    """
    return ModbusBus(parse_bus(text), timeout_s=timeout_s, retries=retries)


class ModbusBus:
    """A bus, opened at the first request and again when it broke. Requests are done one after the other."""

    def __init__(self, address: BusAddress, *, timeout_s: float = 1.0, retries: int = 1) -> None:
        """`timeout_s` for each of the 1 + `retries` attempts."""
        self.address: Final = address
        self._timeout_s: Final = timeout_s
        self._retries: Final = retries
        self._lock = asyncio.Lock()
        self._quarantine = Quarantine()
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None

    async def read_coil(self, unit: int, address: int) -> bool:
        """Return one coil (FC1).

        Raises:
            UnitSilent: no answer; `UnitQuarantined` when it was not even asked.
            UnitRefused: a Modbus exception.
        """
        answer = await self._ask(unit, 1, lambda client: client.read_coils(address, count=1, device_id=unit))
        if not answer.bits:
            raise UnitSilent(f"{self.address} unit {unit}: no bits instead of 1")
        return bool(answer.bits[0])

    async def write_coil(self, unit: int, address: int, value: bool) -> None:
        """Set one coil (FC5); the device's echo is no proof, read it back.

        Raises:
            UnitSilent: no answer; `UnitQuarantined` when it was not even asked.
            UnitRefused: a Modbus exception.
        """
        await self._ask(unit, 5, lambda client: client.write_coil(address, value, device_id=unit))

    async def read(self, unit: int, register: Register) -> float:
        """Return one number, scaled; it may be implausible.

        Raises:
            UnitSilent: no answer, or one of the wrong length; `UnitQuarantined` when it was not even asked.
            UnitRefused: a Modbus exception.
        """

        def request(client: Any) -> Awaitable[ModbusPDU]:
            read = client.read_input_registers if register.table is Table.INPUT else client.read_holding_registers
            pdu: Awaitable[ModbusPDU] = read(register.address, count=register.count, device_id=unit)
            return pdu

        answer = await self._ask(unit, 4 if register.table is Table.INPUT else 3, request)
        try:
            return register.decode(answer.registers)
        except ValueError as error:
            raise UnitSilent(f"{self.address} unit {unit}: {error}") from error

    async def aclose(self) -> None:
        """Let the bus go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _ask(self, unit: int, function: int, request: Callable[[Any], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """Return the answer; pymodbus also takes one to another function for it."""
        async with self._lock:
            began_ms = _now_ms()
            rest_ms = self._quarantine.rest_ms(unit, began_ms)
            if rest_ms:
                raise UnitQuarantined(f"{self.address} unit {unit} is silent; asked again in {rest_ms / 1000:.1f} s", rest_ms=rest_ms)
            try:
                answer = await self._attempt(request)
            except (TimeoutError, OSError, ModbusException) as error:
                raise self._silent(unit, began_ms, str(error) or "no answer in time") from error
        if answer.isError():
            raise self._refused(unit, answer, began_ms)
        if answer.function_code != function:
            raise self._silent(unit, began_ms, f"an answer to function {answer.function_code} instead of {function}")
        self._quarantine.answered(unit)
        return answer

    async def _attempt(self, request: Callable[[Any], Awaitable[ModbusPDU]]) -> ModbusPDU:
        async with asyncio.timeout(self._timeout_s * (self._retries + 2) + _MARGIN_S):
            if self._client is None:
                self._client = self._make_client()
            if not self._client.connected and not await self._client.connect():
                raise ConnectionError(f"no connection to {self.address}")
            return await request(self._client)

    def _silent(self, unit: int, began_ms: int, reason: str) -> UnitSilent:
        now_ms = _now_ms()
        rest_ms = self._quarantine.silent(unit, now_ms, max(1, now_ms - began_ms))
        _log.debug("%s unit %d: %s", self.address, unit, reason)
        return UnitSilent(f"{self.address} unit {unit}: {reason}"[:200], rest_ms=rest_ms)

    def _refused(self, unit: int, answer: ModbusPDU, began_ms: int) -> UnitRefused | UnitSilent:
        code = int(answer.exception_code)
        words = _EXCEPTIONS.get(code, "unknown exception")
        if code in _GATEWAY_SILENT:
            return self._silent(unit, began_ms, words)
        self._quarantine.answered(unit)
        return UnitRefused(f"{self.address} unit {unit}: {words} (Modbus exception {code})", code=code)

    def _make_client(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        at = self.address
        if at.scheme != "rtu":
            framer = FramerType.RTU if at.scheme == "rtu-tcp" else FramerType.SOCKET
            return AsyncModbusTcpClient(
                at.host,
                port=at.port,
                framer=framer,
                timeout=self._timeout_s,
                retries=self._retries,
                reconnect_delay=0,  # no task of its own: we connect when there is something to ask
            )
        try:
            return AsyncModbusSerialClient(
                at.tty,
                baudrate=at.baudrate,
                parity=at.parity,
                stopbits=at.stopbits,
                bytesize=at.bytesize,
                timeout=self._timeout_s,
                retries=self._retries,
                reconnect_delay=0,
            )
        except (ImportError, RuntimeError) as error:
            raise ConfigurationError(f"bus {at}: serial lines need the package pyserial") from error


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000

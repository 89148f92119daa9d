"""The sensor at work: read, check against what is possible, report."""

import asyncio
import random
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import Action, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.confirmation import Confirmation
from firmware_agent.drivers.promise import CommandOutcome, ConfigurationError, Observation, Port
from firmware_agent.drivers.settings import Settings, parse
from firmware_agent.modbus import Register, UnitQuarantined, UnitRefused, UnitSilent, open_bus
from firmware_agent.modbus.address import parse_bus
from firmware_agent.modbus.profile import load_profile

_PACKAGE: Final = "firmware_agent.drivers.sensor"
_TTL_SHARE: Final = 2.5


class SensorProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the number stands and what it can be."""

    description: str
    reading: Register
    source: str = ""


class SensorSettings(Settings, frozen=True):
    """Where the sensor is."""

    bus: str
    """`tcp://host:port`, `rtu-tcp://host:port` or `rtu:///dev/ttyUSB0?baudrate=9600&parity=N`."""
    unit: Annotated[int, Meta(ge=1, le=247)]
    profile: str
    """A shipped profile or a path ending in `.toml`."""
    poll_interval_s: Annotated[float, Meta(ge=0.2, le=3600)] = 30.0
    timeout_s: Annotated[float, Meta(ge=0.05, le=30)] = 1.0


def create(settings: Mapping[str, Any], port: Port) -> "Sensor":
    """Return the driver of a sensor (entry point `sensor`).

    Raises:
        ConfigurationError: a setting or the profile is missing, unknown or wrong.
    """
    sensor = parse(settings, SensorSettings, port.channel)
    try:
        parse_bus(sensor.bus)
        profile = load_profile(sensor.profile, SensorProfile, _PACKAGE)
    except ConfigurationError as error:
        raise ConfigurationError(f"{port.channel}: {error}") from error
    return Sensor(sensor, port, profile.reading)


class Sensor:
    """One number."""

    kind: Final = Kind.SENSOR
    functions: Final = (Function.READING,)

    def __init__(self, settings: SensorSettings, port: Port, register: Register) -> None:
        """Opens nothing."""
        self.is_simulated: Final = settings.is_simulated
        self._settings: Final = settings
        self._port: Final = port
        self._register: Final = register
        self._confirmation = Confirmation(within_ms=int(settings.poll_interval_s * 3000))

    async def run(self) -> None:
        """See `Driver`."""
        while True:
            await self._poll()
            await asyncio.sleep(self._confirmation.pause_s(self._settings.poll_interval_s) * random.uniform(0.9, 1.0))

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """See `Driver`; a sensor knows no command."""
        return CommandOutcome(ResultStatus.REJECTED, f"A sensor does not know {action.value}.")

    def acknowledged(self, event_id: EventId) -> None:
        """See `Driver`; a sensor has no light for it."""

    async def _poll(self) -> None:
        settings = self._settings
        bus = self._port.shared(f"modbus:{parse_bus(settings.bus)}", lambda: open_bus(settings.bus, timeout_s=settings.timeout_s))
        try:
            value = await bus.read(settings.unit, self._register)
        except UnitQuarantined:
            return
        except UnitSilent as error:
            self._bad("unreachable", rest_ms=error.rest_ms)
        except UnitRefused:
            self._bad("modbus_exception")
        else:
            if self._register.is_plausible(value):
                self._confirmation.good()
                self._observe(Verdict.WORKING, "", {"reading": value})
            else:
                self._bad("out_of_range")

    def _bad(self, cause: str, *, rest_ms: int = 0) -> None:
        if self._confirmation.bad(self._port.clock.mono_ms()):
            self._observe(Verdict.FAILED, cause, {}, least_ttl_ms=int(_TTL_SHARE * rest_ms))

    def _observe(self, verdict: Verdict, cause: str, metrics: Mapping[str, float], *, least_ttl_ms: int = 0) -> None:
        ttl_ms = max(int(_TTL_SHARE * self._settings.poll_interval_s * 1000), least_ttl_ms)
        self._port.observe(Observation(Function.READING, verdict, self._port.clock.mono_ms(), ttl_ms, cause, metrics))

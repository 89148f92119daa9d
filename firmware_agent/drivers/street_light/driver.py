"""The street light at work: switch it as the schedule says, measure, and say what the measurement proves."""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import Action, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.confirmation import Confirmation
from firmware_agent.drivers.moment import Moment, age_s, moment
from firmware_agent.drivers.promise import CommandOutcome, ConfigurationError, Observation, Port
from firmware_agent.drivers.settings import parse
from firmware_agent.drivers.street_light.inference import LIT, Cause, Cycling, Finding, Measured, is_dark, is_lit, judge
from firmware_agent.drivers.street_light.schedule import Schedule, parse_schedule
from firmware_agent.drivers.street_light.settings import LightSettings, MeterProfile, RelayProfile
from firmware_agent.modbus import ModbusBus, Register, UnitQuarantined, UnitRefused, UnitSilent, open_bus
from firmware_agent.modbus.address import parse_bus
from firmware_agent.modbus.profile import load_profile

_PACKAGE: Final = "firmware_agent.drivers.street_light"
_SEEN: Final = "last_seen_lit"
_SEEN_REFRESH_S: Final = 3600.0
_TTL_SHARE: Final = 2.5
_MAX_OVERRIDE_S: Final = 12 * 3600
_DEFAULT_OVERRIDE_S: Final = 600
_PROVE_WITHIN_MS: Final = 15_000
_PROVE_PAUSE_S: Final = 0.3

_log = logging.getLogger(__name__)


class _Seen(msgspec.Struct, frozen=True):
    """How the lamp was when it last should have been lit."""

    verdict: Verdict
    cause: Cause
    at: Moment


def create(settings: Mapping[str, Any], port: Port) -> "StreetLight":
    """Return the driver of a street light (entry point `street_light`).

    Raises:
        ConfigurationError: a setting or a profile is missing, unknown or wrong.
    """
    light = parse(settings, LightSettings, port.channel)
    try:
        parse_bus(light.bus)
        schedule = parse_schedule(light.schedule, light.hours, light.utc_offset)
        relay = load_profile(light.relay_profile, RelayProfile, _PACKAGE)
        meter = load_profile(light.meter_profile, MeterProfile, _PACKAGE)
    except (ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"{port.channel}: {error}") from error
    return StreetLight(light, port, schedule, relay=relay, meter=meter)


class StreetLight:
    """One lamp. The level is asserted at each poll: a reboot, a clock jump or somebody else's switch heals by itself."""

    kind: Final = Kind.STREET_LIGHT
    functions: Final = (Function.LIT,)

    def __init__(self, settings: LightSettings, port: Port, schedule: Schedule, *, relay: RelayProfile, meter: MeterProfile) -> None:
        """Opens nothing."""
        self.is_simulated: Final = settings.is_simulated
        self._settings: Final = settings
        self._port: Final = port
        self._schedule: Final = schedule
        self._coil: Final = relay.coil.address + settings.relay_channel
        self._meter: Final = meter
        self._lamp: Final = settings.lamp
        self._confirmation = Confirmation(within_ms=int(settings.poll_interval_s * 3000))
        self._cycling = Cycling()
        self._lock = asyncio.Lock()
        self._override: tuple[int, int] | None = None  # level, until
        self._wake = asyncio.Event()
        self._level: int | None = None
        self._level_since_ms = 0

    async def run(self) -> None:
        """See `Driver`."""
        while True:
            self._wake.clear()
            await self._poll()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """Override the schedule: `lamp.override {"level_percent": 0 or 100, "duration_s": 600}`; 0 s: back to the schedule.

        Succeeds when the meter proves the level while the override lasts. One that fails, or is given up, is taken back; none
        survives a restart.
        """
        if action is not Action.LAMP_OVERRIDE:
            return CommandOutcome(ResultStatus.REJECTED, f"A street light does not know {action.value}.")
        level, duration_s = args.get("level_percent"), args.get("duration_s", _DEFAULT_OVERRIDE_S)
        if isinstance(level, bool) or level not in (0, 100):
            return CommandOutcome(ResultStatus.REJECTED, "level_percent must be 0 or 100.")
        if isinstance(duration_s, bool) or not isinstance(duration_s, int | float) or not 0 <= duration_s <= _MAX_OVERRIDE_S:
            return CommandOutcome(ResultStatus.REJECTED, f"duration_s must be 0 to {_MAX_OVERRIDE_S}.")
        return await self._override_by(int(level), int(duration_s * 1000), expires_mono_ms)

    async def _override_by(self, level: int, duration_ms: int, expires_mono_ms: int) -> CommandOutcome:
        now_ms = self._port.clock.mono_ms()
        mine = self._override = (level, now_ms + duration_ms) if duration_ms else None
        self._wake.set()
        is_proven = False
        try:
            outcome = await self._prove(min(expires_mono_ms, now_ms + _PROVE_WITHIN_MS, *mine[1:] if mine else ()))
            is_proven = outcome.status is ResultStatus.SUCCEEDED
            return outcome
        finally:
            if not is_proven and self._override is mine:
                self._override = None
                self._wake.set()

    def acknowledged(self, event_id: EventId) -> None:
        """See `Driver`; a lamp has no light for it."""

    def _pause_s(self) -> float:
        """Return how long until the next poll; the end of an override is not overslept."""
        pause_s = self._confirmation.pause_s(self._settings.poll_interval_s) * random.uniform(0.9, 1.0)
        if self._override is None:
            return pause_s
        return min(pause_s, max(0.05, (self._override[1] - self._port.clock.mono_ms()) / 1000))

    async def _prove(self, until_mono_ms: int) -> CommandOutcome:
        """Poll until the meter shows the level that is wanted now."""
        level = self._wanted()
        while True:
            measured, words = await self._poll()
            if measured is not None:
                words = f"{measured.power_w:.1f} W at {measured.voltage_v:.0f} V"
                if measured.coil == bool(level) and (is_lit if level else is_dark)(self._lamp, measured):
                    return CommandOutcome(
                        ResultStatus.SUCCEEDED, f"The lamp is {'lit' if level else 'dark'}: {words}.", _numbers(level, measured)
                    )
            if self._port.clock.mono_ms() >= until_mono_ms:
                numbers = {} if measured is None else _numbers(level, measured)
                return CommandOutcome(ResultStatus.FAILED, f"The lamp is not proven {'lit' if level else 'dark'}: {words}."[:256], numbers)
            await asyncio.sleep(_PROVE_PAUSE_S)

    def _wanted(self) -> int:
        """Return the level that holds now, percent."""
        clock = self._port.clock
        if self._override is not None:
            level, until_ms = self._override
            if clock.mono_ms() < until_ms:
                return level
            self._override = None
        return self._schedule.level_percent(clock.wall_ms(), is_trusted=clock.quality().is_trusted)

    async def _poll(self) -> tuple[Measured | None, str]:
        """Assert the level, measure, and give evidence; return what was measured, or why nothing was."""
        async with self._lock:
            level = self._wanted()
            try:
                measured = await self._switch_and_measure(level)
            except UnitQuarantined as error:
                return None, str(error)
            except UnitSilent as error:
                self._bad(Finding(Verdict.FAILED, Cause.UNREACHABLE), rest_ms=error.rest_ms, words=str(error))
                return None, str(error)
            except UnitRefused as error:
                self._bad(Finding(Verdict.FAILED, Cause.REFUSED), words=str(error))
                return None, str(error)
            if measured is None:
                self._bad(Finding(Verdict.UNKNOWN, Cause.IMPLAUSIBLE))
                return None, "the meter shows impossible numbers"
            self._conclude(level, measured)
            return measured, ""

    async def _switch_and_measure(self, level: int) -> Measured | None:
        settings = self._settings
        bus = self._port.shared(f"modbus:{parse_bus(settings.bus)}", lambda: open_bus(settings.bus, timeout_s=settings.timeout_s))
        coil = await bus.read_coil(settings.relay_unit, self._coil)
        if coil != bool(level):
            await bus.write_coil(settings.relay_unit, self._coil, bool(level))
            coil = await bus.read_coil(settings.relay_unit, self._coil)
            self._level = None
        if level != self._level:
            self._level, self._level_since_ms = level, self._port.clock.mono_ms()
        power_w = await self._number(bus, self._meter.power_w)
        voltage_v = await self._number(bus, self._meter.voltage_v)
        return None if power_w is None or voltage_v is None else Measured(coil, power_w, voltage_v)

    async def _number(self, bus: ModbusBus, register: Register) -> float | None:
        value = await bus.read(self._settings.meter_unit, register)
        return value if register.is_plausible(value) else None

    def _conclude(self, level: int, measured: Measured) -> None:
        now_ms = self._port.clock.mono_ms()
        finding = judge(self._lamp, level, measured, now_ms - self._level_since_ms)
        is_cycling = self._cycling.see(now_ms, level, is_lit(self._lamp, measured))
        if is_cycling and finding == LIT:
            finding = Finding(Verdict.DEGRADED, Cause.CYCLING_FAILURE)
        metrics = _numbers(level, measured)
        if finding is None:
            self._confirmation.good()
            self._observe(self._as_last_seen(), metrics)
        elif finding.verdict in (Verdict.WORKING, Verdict.UNKNOWN):
            self._confirmation.good()
            self._observe(finding, metrics)
            if finding.verdict is Verdict.WORKING:
                self._remember(finding)
        else:
            is_confirmed = self._bad(finding, metrics)
            if is_confirmed and level > 0:
                self._remember(finding)

    def _bad(self, finding: Finding, metrics: Mapping[str, float] | None = None, *, rest_ms: int = 0, words: str = "") -> bool:
        """Give evidence of a trouble once it is confirmed; return whether it is."""
        if not self._confirmation.bad(self._port.clock.mono_ms()):
            return False
        if words:
            _log.debug("%s: %s", self._port.channel, words)
        self._observe(finding, metrics or {}, least_ttl_ms=int(_TTL_SHARE * rest_ms))
        return True

    def _observe(self, finding: Finding, metrics: Mapping[str, float], *, least_ttl_ms: int = 0) -> None:
        ttl_ms = max(int(_TTL_SHARE * self._settings.poll_interval_s * 1000), least_ttl_ms)
        self._port.observe(Observation(Function.LIT, finding.verdict, self._port.clock.mono_ms(), ttl_ms, finding.cause.value, metrics))

    def _seen(self) -> _Seen | None:
        text = self._port.memory().get(_SEEN)
        try:
            return msgspec.json.decode(text, type=_Seen) if text else None
        except msgspec.DecodeError:
            return None

    def _remember(self, finding: Finding) -> None:
        seen = self._seen()
        age = None if seen is None else age_s(seen.at, self._port.clock)
        if seen is not None and (seen.verdict, seen.cause) == finding and age is not None and age < _SEEN_REFRESH_S:
            return
        now = moment(self._port.clock, self._port.clock.mono_ms())
        self._port.memory().set(_SEEN, msgspec.json.encode(_Seen(finding.verdict, finding.cause, now)).decode())

    def _as_last_seen(self) -> Finding:
        """Dark by schedule proves nothing of the lamp: it counts as it was when it last should have been lit, for a while."""
        seen = self._seen()
        age = None if seen is None else age_s(seen.at, self._port.clock)
        if seen is None or age is None or age > self._settings.proof_max_age_h * 3600:
            return Finding(Verdict.UNKNOWN, Cause.NOT_SEEN_LIT)
        return Finding(seen.verdict, seen.cause)


def _numbers(level: int, measured: Measured) -> dict[str, float]:
    return {"power_w": measured.power_w, "voltage_v": measured.voltage_v, "level_percent": float(level)}

"""Runs the drivers: finds them on demand, restarts one that fails, and says `unknown` for it meanwhile."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Final, cast

import msgspec

from firmware_agent.config import ChannelSection
from firmware_agent.contract.ids import Channel, EventId
from firmware_agent.contract.messages import ReportedChannel
from firmware_agent.contract.vocabulary import FUNCTIONS, Action, Function, ResultStatus, Verdict
from firmware_agent.drivers.promise import ENTRY_POINTS, CommandOutcome, ConfigurationError, Driver, Factory, Observation, Port
from firmware_agent.uplink.backoff import Backoff

_HELD_S: Final = 60.0
"""A driver that ran this long starts the waits from the beginning when it fails."""
_LEAST_WAIT_S: Final = 0.5

_log = logging.getLogger(__name__)


def installed_factory(name: str) -> Factory:
    """Return the driver of that name from the installed entry points.

    Raises:
        ConfigurationError: there is none, or it cannot be loaded here (a missing optional package).
    """
    found = entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        raise ConfigurationError(f"There is no driver {name!r}; installed are: {', '.join(sorted(found.names)) or 'none'}.")
    try:
        return cast(Factory, found[name].load())
    except ImportError as error:
        raise ConfigurationError(f"The driver {name!r} needs a package that is not installed: {error}.") from error


@dataclass
class _Slot:
    """One channel at work."""

    section: ChannelSection
    port: Port
    driver: Driver | None = None
    error: str = ""
    restarts: int = 0
    task: asyncio.Task[None] | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(longest_s=60.0))

    @property
    def functions(self) -> tuple[Function, ...]:
        """What it answers for, even while there is no driver."""
        return self.driver.functions if self.driver else FUNCTIONS[self.section.kind][:1]


class Supervisor:
    """All drivers of the node."""

    def __init__(
        self,
        sections: Sequence[ChannelSection],
        port_of: Callable[[Channel], Port],
        *,
        find: Callable[[str], Factory] = installed_factory,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`find` gives the factory of a driver's name; `on_change` is told when what `reported` says has changed."""
        self._find = find
        self._on_change = on_change
        self._slots = {Channel(s.channel): _Slot(s, port_of(Channel(s.channel))) for s in sections}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run all drivers until cancelled; one that fails does not touch the others."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for slot in self._slots.values():
                self._start(slot, tasks)
            await asyncio.Event().wait()

    @property
    def sections(self) -> list[ChannelSection]:
        """The configuration in force."""
        return [slot.section for slot in self._slots.values()]

    def reported(self) -> list[ReportedChannel]:
        """Return each channel as it runs."""
        return [_report(slot) for slot in self._slots.values()]

    def try_settings(self, section: ChannelSection) -> None:
        """Make a driver with these settings and throw it away.

        Raises:
            ConfigurationError: they do not fit; the message names the setting.
        """
        self._make(section, self._slots[Channel(section.channel)].port)

    def reconfigure(self, section: ChannelSection) -> None:
        """Restart a channel's driver with other settings."""
        slot = self._slots[Channel(section.channel)]
        slot.section = section
        slot.backoff.reset()
        if self._tasks is not None:
            self._start(slot, self._tasks)

    async def command(self, channel: Channel, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """Have the channel's driver do something; never raises for what a driver does wrong."""
        slot = self._slots.get(channel)
        if slot is None:
            return CommandOutcome(ResultStatus.REJECTED, f"This node has no channel {channel}.")
        if slot.driver is None:
            return CommandOutcome(ResultStatus.FAILED, f"The driver of {channel} does not run: {slot.error}"[:256])
        try:
            return await slot.driver.command(action, args, expires_mono_ms)
        except Exception as error:  # noqa: BLE001  # a driver's own code: anything may come
            _log.exception("%s: command %s failed", channel, action)
            return CommandOutcome(ResultStatus.FAILED, f"The driver failed: {type(error).__name__}: {error}"[:256])

    def acknowledged(self, channel: Channel, event_id: EventId) -> None:
        """Tell the channel's driver that the server has stored its event."""
        slot = self._slots.get(channel)
        if slot is None or slot.driver is None:
            return
        try:
            slot.driver.acknowledged(event_id)
        except Exception:  # noqa: BLE001  # a driver's own code: anything may come
            _log.exception("%s: being told of an acknowledgement failed", channel)

    def _start(self, slot: _Slot, tasks: asyncio.TaskGroup) -> None:
        before = slot.task
        if before is not None:
            before.cancel()
        slot.task = tasks.create_task(self._serve(slot, before), name=f"driver-{slot.section.channel}")

    async def _serve(self, slot: _Slot, before: asyncio.Task[None] | None) -> None:
        """Run a driver, again and again; `before` is the task of the former settings, waited for so that lines are free."""
        if before is not None:
            await asyncio.wait({before})
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                slot.driver = self._make(slot.section, slot.port)
                self._say(slot, "")
                await slot.driver.run()
                cause, error = "driver_error", "it ended by itself"
            except ConfigurationError as reason:
                cause, error = "driver_config", str(reason)
            except Exception as reason:  # noqa: BLE001  # a driver's own code: anything may come
                cause, error = "driver_error", f"{type(reason).__name__}: {reason}"
                _log.exception("%s: the driver failed", slot.section.channel)
            if loop.time() - began_s > _HELD_S:
                slot.backoff.reset()
            await self._rest(slot, cause, error)

    async def _rest(self, slot: _Slot, cause: str, error: str) -> None:
        functions = slot.functions
        slot.driver = None
        slot.restarts += 1
        wait_s = max(_LEAST_WAIT_S, slot.backoff.next_s())
        self._say(slot, error)
        for function in functions:
            now_ms = slot.port.clock.mono_ms()
            slot.port.observe(Observation(function, Verdict.UNKNOWN, now_ms, int(wait_s * 2500) + 10_000, cause))
        await asyncio.sleep(wait_s)

    def _make(self, section: ChannelSection, port: Port) -> Driver:
        try:
            driver = self._find(section.driver)(section.settings, port)
        except ConfigurationError:
            raise
        except Exception as error:  # a driver's own code: anything may come
            _log.exception("%s: the driver %r cannot be made", section.channel, section.driver)
            reason = f"{section.channel}: the driver {section.driver!r} cannot be made of these settings ({type(error).__name__})."
            raise ConfigurationError(reason) from error
        if driver.kind is not section.kind:
            raise ConfigurationError(f"{section.channel}: the driver {section.driver!r} is for a {driver.kind}, not a {section.kind}.")
        return driver

    def _say(self, slot: _Slot, error: str) -> None:
        if error and error != slot.error:
            _log.error("%s: %s", slot.section.channel, error)
        if error != slot.error or not error:
            slot.error = error
            self._on_change()


def _report(slot: _Slot) -> ReportedChannel:
    driver, settings = slot.driver, slot.section.settings
    return ReportedChannel(
        Channel(slot.section.channel),
        slot.section.kind,
        slot.section.driver[:64],
        list(slot.functions),
        is_simulated=driver.is_simulated if driver else False,
        model=str(settings.get("model", ""))[:64],
        serial=str(settings.get("serial", ""))[:64],
        error=slot.error[:256],
    )


def with_settings(section: ChannelSection, settings: Mapping[str, Any]) -> ChannelSection:
    """Return the section with settings merged over its own."""
    return msgspec.structs.replace(section, settings={**section.settings, **settings})

"""Drivers at work: one that fails touches nobody else, and is said to be unknown."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from firmware_agent.config import ChannelSection
from firmware_agent.contract.ids import Channel, EventId
from firmware_agent.contract.vocabulary import Action, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.fake import RecordingPort
from firmware_agent.drivers.promise import CommandOutcome, ConfigurationError, Driver, Factory, Port
from firmware_agent.supervisor import Supervisor, installed_factory, with_settings


class Lamp:
    kind = Kind.STREET_LIGHT
    functions = (Function.LIT,)
    is_simulated = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if settings.get("port") == "wrong":
            raise ConfigurationError("port: not a port")
        if settings.get("port") == "odd":
            raise KeyError("a mistake in the driver")
        self.settings = settings
        self.runs = 0
        self.is_running = False
        self.told: list[EventId] = []
        self.end = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        self.is_running = True
        try:
            await self.end.wait()
            if self.settings.get("raises", True):
                raise OSError("bus is gone")
        finally:
            await asyncio.sleep(0)
            self.is_running = False

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        if args.get("raise"):
            raise OSError("bus is gone")
        return CommandOutcome(ResultStatus.SUCCEEDED)

    def acknowledged(self, event_id: EventId) -> None:
        self.told.append(event_id)
        if self.settings.get("deaf"):
            raise RuntimeError("deaf")


class Street:
    """Two lamps under a supervisor."""

    def __init__(self, **settings: Any) -> None:
        self.made: list[Lamp] = []
        self.changes = 0
        self.ports: dict[Channel, RecordingPort] = {}
        sections = [section("lamp-1", **settings), section("lamp-2")]
        self.supervisor = Supervisor(sections, self.port, find=lambda _: self.make, on_change=self.changed)

    def make(self, settings: Mapping[str, Any], port: Port) -> Driver:
        self.made.append(Lamp({**settings, "channel": port.channel}))
        return self.made[-1]

    def port(self, channel: Channel) -> RecordingPort:
        return self.ports.setdefault(channel, RecordingPort(channel))

    def changed(self) -> None:
        self.changes += 1

    def lamp(self, channel: str) -> Lamp:
        return [lamp for lamp in self.made if lamp.settings["channel"] == channel][-1]

    async def __aenter__(self) -> "Street":
        self.task = asyncio.create_task(self.supervisor.run())
        await until(lambda: any(lamp.is_running for lamp in self.made))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


def section(channel: str, *, kind: Kind = Kind.STREET_LIGHT, **settings: Any) -> ChannelSection:
    return ChannelSection(channel=channel, kind=kind, driver="lamp", settings=settings)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is watched offers no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("raises", [True, False])
async def test_driver_that_ends_is_unknown_and_made_anew(raises: bool) -> None:
    async with Street(raises=raises) as street:
        street.lamp("lamp-1").end.set()
        await until(lambda: len(street.ports[Channel("lamp-1")].observations) == 1)
        said = street.ports[Channel("lamp-1")].observations[0]
        assert (said.verdict, said.cause, said.function) == (Verdict.UNKNOWN, "driver_error", Function.LIT)
        assert street.supervisor.reported()[0].error
        await until(lambda: [lamp.settings["channel"] for lamp in street.made].count("lamp-1") == 2)
        await until(lambda: street.supervisor.reported()[0].error == "")
        assert street.lamp("lamp-2").runs == 1
        assert street.ports[Channel("lamp-2")].observations == []


async def test_wrong_setting_of_one_channel_stops_no_other() -> None:
    async with Street(port="wrong") as street:
        await until(lambda: bool(street.ports[Channel("lamp-1")].observations))
        assert street.ports[Channel("lamp-1")].observations[0].cause == "driver_config"
        assert street.supervisor.reported()[0].error == "port: not a port"
        assert street.lamp("lamp-2").is_running


async def test_driver_that_cannot_be_made_is_a_wrong_setting_whatever_it_raises() -> None:
    """Settings come from the server too, again at each connection: what a driver forgot to check must not end the agent."""
    async with Street(port="odd") as street:
        await until(lambda: bool(street.ports[Channel("lamp-1")].observations))
        assert street.ports[Channel("lamp-1")].observations[0].cause == "driver_config"
        with pytest.raises(ConfigurationError, match=r"lamp-1.*KeyError"):
            street.supervisor.try_settings(section("lamp-1", port="odd"))


async def test_driver_for_another_kind_is_refused() -> None:
    street = Street()
    with pytest.raises(ConfigurationError, match="is for a street_light, not a camera"):
        street.supervisor.try_settings(section("lamp-1", kind=Kind.CAMERA))


async def test_new_settings_wait_until_the_old_driver_has_let_go() -> None:
    async with Street() as street:
        old = street.lamp("lamp-1")
        was_running: list[bool] = []

        def watched(settings: Mapping[str, Any], port: Port) -> Driver:
            was_running.append(old.is_running)
            return street.make(settings, port)

        street.supervisor._find = lambda _: watched
        street.supervisor.reconfigure(with_settings(street.supervisor.sections[0], {"colour": "warm"}))
        await until(lambda: street.lamp("lamp-1") is not old and street.lamp("lamp-1").is_running)
        assert was_running == [False]
        assert street.lamp("lamp-1").settings["colour"] == "warm"
        assert street.lamp("lamp-2").runs == 1


async def test_commands_never_raise() -> None:
    async with Street() as street:
        command = street.supervisor.command
        assert (await command(Channel("lamp-9"), Action.LAMP_OVERRIDE, {}, 0)).status is ResultStatus.REJECTED
        failed = await command(Channel("lamp-1"), Action.LAMP_OVERRIDE, {"raise": True}, 0)
        assert (failed.status, "bus is gone" in failed.message) == (ResultStatus.FAILED, True)
        assert (await command(Channel("lamp-1"), Action.LAMP_OVERRIDE, {}, 0)).status is ResultStatus.SUCCEEDED
        street.lamp("lamp-1").end.set()
        await until(lambda: bool(street.supervisor.reported()[0].error))
        down = await command(Channel("lamp-1"), Action.LAMP_OVERRIDE, {}, 0)
        assert down.status is ResultStatus.FAILED


async def test_acknowledgement_reaches_its_driver_only() -> None:
    async with Street(deaf=True) as street:
        street.supervisor.acknowledged(Channel("lamp-1"), EventId("e"))
        street.supervisor.acknowledged(Channel("lamp-9"), EventId("e"))
        assert street.lamp("lamp-1").told == ["e"]
        assert street.lamp("lamp-2").told == []


def test_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no driver 'teapot'; installed are"):
        installed_factory("teapot")


async def test_driver_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def load(self) -> Factory:
            raise ModuleNotFoundError("No module named 'gpiod'")

    class Found(dict[str, Entry]):
        names = frozenset({"lamp"})

    monkeypatch.setattr("firmware_agent.supervisor.entry_points", lambda group: Found(lamp=Entry()))
    with pytest.raises(ConfigurationError, match="gpiod"):
        installed_factory("lamp")

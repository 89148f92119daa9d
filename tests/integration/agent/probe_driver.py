"""A driver for tests: it presses when told, and keeps what it was told. Also loadable by a real agent process (`make`)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import Action, EventType, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.promise import CommandOutcome, ConfigurationError, Driver, Factory, Happening, Observation, Port


class ProbeButton:
    """`settings["presses"]`: a file whose size says how often the button was pressed; acknowledged ids go to `….acked`."""

    kind = Kind.PANIC_BUTTON
    functions = (Function.PRESS,)
    is_simulated = True

    def __init__(self, settings: Mapping[str, Any], port: Port) -> None:
        if settings.get("bad"):
            raise ConfigurationError("bad: must not be set")
        if settings.get("odd"):
            raise KeyError("a mistake in the driver")
        self.settings = settings
        self.port = port
        self.acked: list[EventId] = []
        self.verdict = Verdict.WORKING
        self.crash = False
        self.last_words = False

    async def run(self) -> None:
        try:
            await self._watch()
        finally:
            if self.last_words:
                await asyncio.shield(asyncio.ensure_future(self.press()))

    async def _watch(self) -> None:
        presses = Path(self.settings["presses"]) if "presses" in self.settings else None
        while True:
            if self.crash:
                raise RuntimeError("probe crashed")
            now_ms = self.port.clock.mono_ms()
            self.port.observe(Observation(Function.PRESS, self.verdict, now_ms, 60_000))
            done = int(self.port.memory().get("presses") or 0)
            if presses is not None and presses.exists() and presses.stat().st_size > done:
                await self.press()
                self.port.memory().set("presses", str(done + 1))
            await asyncio.sleep(0.05)

    async def press(self) -> EventId:
        return await self.port.happen(Happening(EventType.PRESS, self.port.clock.mono_ms()))

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        if args.get("hang"):
            await asyncio.sleep(3600)
        if args.get("raise"):
            raise RuntimeError("probe refuses")
        return CommandOutcome(ResultStatus.SUCCEEDED, "done", {"power_w": 58.9})

    def acknowledged(self, event_id: EventId) -> None:
        self.acked.append(event_id)


def make(settings: Mapping[str, Any], port: Port) -> Driver:
    return ProbeButton(settings, port)


class Probes:
    """Factories that remember the drivers they made, by channel (the newest last)."""

    def __init__(self) -> None:
        self.made: list[ProbeButton] = []
        self.first = asyncio.Event()

    def find(self, name: str) -> Factory:
        if name != "probe":
            raise ConfigurationError(f"There is no driver {name!r}.")

        def factory(settings: Mapping[str, Any], port: Port) -> Driver:
            self.made.append(ProbeButton(settings, port))
            self.first.set()
            return self.made[-1]

        return factory

    def of(self, channel: str = "btn-1") -> ProbeButton:
        return [probe for probe in self.made if probe.port.channel == channel][-1]

"""One node of a world: its agent as a process, its simulated devices, and its line to the broker."""

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from hil.demo.place import write_whole
from hil.faults.proxy import FaultProxy
from hil.processes import Process, run
from hil.scenarios import registry
from hil.scenarios.books import Books, read_books
from hil.scenarios.programs import program
from hil.scenarios.server import Server
from hil.scenarios.waiting import until
from hil.simulators.gpio import Button, GpioSimulator
from hil.simulators.modbus import Lamp, ModbusSimulator

HEARTBEAT_S: Final = 0.5
_PACE: Final[dict[str, dict[str, Any]]] = {
    "panic_button": {"check_interval_s": 1.0, "rearm_ms": 200},
    "street_light": {"poll_interval_s": 1.0, "warm_up_s": 1.0},
}


class Node:
    """One node. `line` is the network between it and the broker."""

    def __init__(self, serial: str, folder: Path, server: Server, *, runtime: Path, env: Mapping[str, str] | None = None) -> None:
        """`runtime` is a folder with a short path, for the socket of the simulated GPIO; `env` is added to the agent's environment."""
        self.serial: Final = serial
        self.folder: Final = folder
        self.line: Final = FaultProxy("127.0.0.1", server.mqtt_port)
        self.buttons: Final[dict[str, Button]] = {}
        self.lamps: Final[dict[str, Lamp]] = {}
        self.downs: Final[list[tuple[int, int | None]]] = []
        """When the agent was killed, on the wall clock, until when it was down (None: still). Stopped in order it has time to keep all."""
        self._server: Final = server
        self._gpio = GpioSimulator(runtime / f"{serial}.sock")
        self._bus = ModbusSimulator()
        self._stack = AsyncExitStack()
        config = folder / "node.toml"
        self._process = Process(f"the agent of {serial}", [program("zone-agent"), "run", "--config", config], log=self.log, env=env)

    @property
    def log(self) -> Path:
        """What its agent says."""
        return self._server.folder.parent / "log" / f"{self.serial}.log"

    @property
    def is_running(self) -> bool:
        """Whether its agent runs."""
        return self._process.is_running

    async def wire(self) -> None:
        """Start the devices and the line, and write the agent's configuration."""
        for device in registry.wired(self.serial):
            if device.kind == "panic_button":
                self.buttons[device.code] = self._gpio.button(device.channel)
            else:
                self.lamps[device.code] = self._bus.add_lamp(device.channel)
        for part in (self._gpio, self._bus, self.line):
            await self._stack.enter_async_context(part)
        write_whole(self.folder / "node.toml", self._config())

    async def enrol(self, code: str) -> None:
        """Get its certificate with a claim code."""
        argv: list[str | Path] = [program("zone-agent"), "enrol", "--data", self.folder, "--serial", self.serial, "--code", code]
        argv += ["--server", self._server.est_url, "--ca", self._server.ca_file, "--wait", "30"]
        await run(f"enrolling {self.serial}", argv)

    async def start(self) -> None:
        """Start its agent."""
        await self._process.start()
        if self.downs and self.downs[-1][1] is None:
            self.downs[-1] = (self.downs[-1][0], now_ms())

    async def stop(self) -> int:
        """Stop its agent in order; return its exit status."""
        if self._process.is_running:
            os.kill(self._process.pid, signal.SIGTERM)
        await until(lambda: not self._process.is_running, f"the agent of {self.serial} stops", within_s=10)
        return await self._process.wait()

    async def kill(self) -> None:
        """End its agent at once (SIGKILL)."""
        self.downs.append((now_ms(), None))
        await self._process.kill()

    async def aclose(self) -> None:
        """End everything of it."""
        await self._process.kill()
        await self._stack.aclose()

    def status(self) -> dict[str, Any]:
        """Return what its agent says of itself; empty before it said anything."""
        try:
            said: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return said

    @property
    def is_connected(self) -> bool:
        """Whether the agent that runs now says that it is connected."""
        said = self.status()
        return self._process.is_running and bool(said.get("is_connected")) and said.get("pid") == self._process.pid

    @property
    def made(self) -> int:
        """How many heartbeats the agent has made, as it says."""
        return sum(stream["made"] for stream in self.status().get("streams", []))

    @property
    def held(self) -> int:
        """How many heartbeats it holds, as it says."""
        return sum(stream["held"] for stream in self.status().get("streams", []))

    @property
    def events_held(self) -> int:
        """How many events it holds, as it says; -1 before it said anything."""
        return int(self.status().get("events", {"held": -1})["held"])

    def books(self) -> Books:
        """Return what its outbox says; only while the agent does not run, because it lets nobody else read."""
        return read_books(self.folder / "outbox.db")

    def was_up(self, from_ms: int, to_ms: int) -> bool:
        """Whether the agent was never killed in a span, and not about to be started."""
        return not any(down < to_ms and (up is None or up > from_ms) for down, up in self.downs)

    def _config(self) -> str:
        lines = [
            '[node]\ndata_dir = "."\nis_simulated = true',
            f'[server]\nmqtt_host = "127.0.0.1"\nmqtt_port = {self.line.port}',
            "keepalive_s = 2\nretry_max_s = 1.0\nreplay_interval_s = 0.05",
            f"[heartbeat]\ninterval_s = {HEARTBEAT_S}",
            '[clock]\nassume = "ntp"',
        ]
        for device in registry.wired(self.serial):
            simulated = self.buttons[device.code] if device.kind == "panic_button" else self.lamps[device.code]
            lines.append(f'[[channel]]\nchannel = "{device.channel}"\nkind = "{device.kind}"\ndriver = "{device.kind}"\n[channel.settings]')
            lines += [f"{key} = {json.dumps(value)}" for key, value in {**simulated.settings(), **_PACE[device.kind]}.items()]
        return "\n".join(lines) + "\n"


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000

"""The whole demo zone as processes: a fleet server, two agents, their devices; started in order, stopped in order."""

import asyncio
import json
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from hil.demo import layout
from hil.demo.acts import Acts
from hil.demo.devices import SUPERVISION, Devices
from hil.demo.errors import DemoFailed
from hil.demo.fleet import FleetApi
from hil.demo.place import Place, Ports, write_whole
from hil.processes import Process, run

_START_S: Final = 30.0
_WORKING_S: Final = 90.0
_PASSWORD_BYTES: Final = 12


class DemoZone:
    """One demo zone. `say` is called with each step as it happens."""

    def __init__(self, place: Place, ports: Ports, *, runtime: Path, control_url: str, say: Callable[[str], None]) -> None:
        """`runtime` is a folder with a short path for sockets; `control_url` is handed to the server for its demo panel."""
        self.place: Final = place
        self.ports: Final = ports
        self.devices: Final = Devices(runtime)
        self.api: FleetApi
        self.server = Process(
            "the fleet server",
            [_program("fleet"), "serve", "--data", place.server, "--demo-control", control_url],
            log=place.log("server"),
        )
        self.agents = {
            serial: Process(
                f"the agent of {serial}",
                [_program("zone-agent"), "run", "--config", place.node(serial) / "node.toml"],
                log=place.log(serial),
            )
            for serial in layout.NODES
        }
        self.spare_claims: list[dict[str, str]] = []
        self.drills: list[str] = []
        self.since_ms = time.time_ns() // 1_000_000
        """When this run began; presses before it belong to earlier runs."""
        self._say = say

    @property
    def console_url(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.ports.http}"

    def acts(self) -> Acts:
        """Return what can be done to the zone now."""
        return Acts(self.devices.acts())

    async def start(self) -> None:
        """Start everything; returns when every position has been seen working.

        Raises:
            DemoFailed, ProcessFailed: it could not; the message is one sentence.
        """
        is_new = not self._has_registry()
        if is_new:
            self._say("Making keys, certificates and the database")
            await self._install()
        self._say("Starting the fleet server with its embedded broker and databases")
        await self.server.start()
        await self._wait(self._is_server_up, within_s=_START_S, what="the fleet server is up")
        await self.devices.start(self.ports.mqtt)
        if is_new:
            self._say(f"Registering one station, one zone and {len(layout.NODES)} nodes")
            await self._register()
        await asyncio.gather(*(self._enrol(serial) for serial in layout.NODES))
        await self._stock_spares()
        await self._register_positions()
        for serial in layout.NODES:
            self.devices.write_config(self.place, serial)
        self._say(f"Starting {len(self.agents)} agents on simulated cameras, buttons, lamps and a sensor")
        for agent in self.agents.values():
            await agent.start()
        await self._wait(self._are_online, within_s=_START_S, what="both nodes are connected")
        await self._drill()
        self._say("Waiting until every position has been seen working")
        await self._wait(self._are_working, within_s=_WORKING_S, what="every position works")

    async def stop(self) -> None:
        """Stop everything in order: agents say goodbye while the server still listens."""
        await asyncio.gather(*(agent.stop(within_s=2.0) for agent in self.agents.values()))
        if hasattr(self, "api"):
            await self.api.__aexit__(None, None, None)
        await self.server.stop(within_s=2.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.devices.stop()

    def check(self) -> None:
        """See that all processes are alive.

        Raises:
            ProcessFailed: one ended by itself.
        """
        self.server.check()
        for agent in self.agents.values():
            agent.check()

    def agent_status(self, serial: str) -> dict[str, Any]:
        """Return what the agent says of itself; empty before it said anything."""
        try:
            said: dict[str, Any] = json.loads((self.place.node(serial) / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return said

    # ---- the first time -------------------------------------------------------------------------------------------

    def _clear_way(self) -> None:
        """Remove what a first start has left that was ended half way: it is nobody's history yet."""
        if self.place.unfinished_file.exists():
            shutil.rmtree(self.place.server, ignore_errors=True)
            self.place.token_file.unlink(missing_ok=True)
        elif self.place.server.exists():
            raise DemoFailed(f"{self.place.server} was not made by a demo: name another folder with --data.")
        self.place.unfinished_file.touch()

    async def _install(self) -> None:
        self._clear_way()
        extra = self.place.data / "demo-settings.toml"
        write_whole(extra, SUPERVISION)
        argv: list[str | Path] = [
            *(_program("fleet"), "init", "--data", self.place.server, "--demo", "--json", "--organisation", "Smart Safety Zone (demo)"),
            *("--http-port", str(self.ports.http), "--est-port", str(self.ports.est), "--mqtt-port", str(self.ports.mqtt)),
            *("--extra-settings", extra),
        ]
        made = json.loads(await run("fleet init", argv))
        _write_secret(self.place.data / "administrator.json", json.dumps(made["administrator"]))
        await run(
            "fleet token create",
            [
                _program("fleet"),
                "token",
                "create",
                "demo",
                "--role",
                "administrator",
                "--out",
                self.place.token_file,
                "--data",
                self.place.server,
            ],
        )

    async def _register(self) -> None:
        await self.api.import_csv("units", layout.units_csv())
        await self.api.import_csv("zones", layout.zones_csv())
        codes = await self._new_claims(layout.NODES)
        await self._set_password()
        _write_secret(self._claims_file, json.dumps(codes))
        self.place.unfinished_file.unlink()

    async def _new_claims(self, serials: Sequence[str]) -> dict[str, str]:
        """Make nodes known and vouch for them; return their claim codes by serial number."""
        await self.api.import_csv("nodes", layout.nodes_csv(serials))
        return {serial: (await self.api.post("/claims", {"node": serial, "approve": True}))["code"] for serial in serials}

    async def _stock_spares(self) -> None:
        """Keep three nodes in the store room whose claim codes were not used yet."""
        codes: dict[str, str] = json.loads(self._claims_file.read_text())
        spares = [serial for serial in codes if serial not in layout.NODES]
        unused = [serial for serial in spares if (await self.api.get(f"/claims/{serial}"))["state"] == "claimed"]
        missing = layout.spare_serials(after=len(spares), count=layout.SPARES - len(unused))
        codes |= await self._new_claims(missing)
        _write_secret(self._claims_file, json.dumps(codes))
        self.spare_claims = [{"serial": serial, "code": codes[serial]} for serial in (*unused, *missing)]

    async def _register_positions(self) -> None:
        """Commission the positions last, because their uptime counts from there."""
        if not (await self.api.get("/positions", limit=1))["items"]:
            self._say(f"Commissioning {len(layout.POSITIONS)} positions")
            await self.api.import_csv("positions", layout.positions_csv())

    async def _set_password(self) -> None:
        administrator = json.loads((self.place.data / "administrator.json").read_text())
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        await self.api.post("/links:use", {"secret": administrator["secret"], "password": password})
        _write_secret(self.place.password_file, password)

    async def _enrol(self, serial: str) -> None:
        if (self.place.node(serial) / "identity" / "cert.pem").exists():
            return
        self._say(f"Enrolling {serial} with its claim code")
        code = json.loads(self._claims_file.read_text())[serial]
        argv = [
            *(_program("zone-agent"), "enrol", "--data", self.place.node(serial), "--serial", serial, "--code", code),
            *("--server", f"https://127.0.0.1:{self.ports.est}", "--ca", self.place.ca_file, "--wait", "20"),
        ]
        await run(f"Enrolling {serial}", argv)

    # ---- becoming ready -------------------------------------------------------------------------------------------

    async def _drill(self) -> None:
        """Give each button one drill, so that it has proven its whole way to the server."""
        self._say("Drilling each panic button once")
        for position in layout.of_kind("panic_button"):
            await self._command(position.code, "drill.begin", {"duration_s": 60})
            await self.devices.press(position.code)
            self.drills.append(position.code)
        for position in layout.of_kind("panic_button"):
            await self._wait(
                partial(self._is_drilled, position.serial, position.channel), within_s=_START_S, what=f"{position.code} is drilled"
            )
            await self._command(position.code, "drill.end", {})
        await self._answer_drills()

    async def _answer_drills(self) -> None:
        """Answer our own drills, as the technician who made them would."""
        for press in await self.api.all("/presses"):
            if press["is_drill"] and press["state"] == "open":
                await self.api.post(f"/presses/{press['event_id']}:acknowledge")

    async def _command(self, code: str, action: str, args: dict[str, Any]) -> None:
        """Issue a command and wait until the device did it."""
        issued = await self.api.post("/commands", {"position": code, "action": action, "args": args, "expires_in_s": 30})
        await self._wait(partial(self._is_done, issued["id"]), within_s=_START_S, what=f"{code} did {action}")

    async def _is_done(self, command_id: str) -> bool:
        now = await self.api.get(f"/commands/{command_id}")
        if now["state"] in ("failed", "expired", "rejected"):
            raise DemoFailed(f"{now['action']} of {now['position_code']} {now['state']}: {now['message']}")
        return bool(now["state"] == "succeeded")

    async def _is_drilled(self, serial: str, channel: str) -> bool:
        """Whether the agent knows that the server has stored the button's test press."""
        channels = {each["channel"]: each for each in self.agent_status(serial).get("channels", [])}
        return any(function["verdict"] == "working" for function in channels.get(channel, {}).get("functions", []))

    async def _is_server_up(self) -> bool:
        if not hasattr(self, "api"):
            self.api = FleetApi(self.console_url, self.place.token_file.read_text().strip())
        return await self.api.is_ready()

    async def _are_online(self) -> bool:
        return all(self.agent_status(serial).get("is_connected") for serial in layout.NODES)

    async def _are_working(self) -> bool:
        states = await self.api.all("/states")
        return len(states) == len(layout.POSITIONS) and all(state["state"] == "working" for state in states)

    async def _wait(self, condition: Callable[[], Awaitable[bool]], *, within_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not await condition():
                    self.check()
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise DemoFailed(f"It took over {within_s:.0f} s until {what}; the logs in {self.place.data / 'log'} say more.") from error

    def _has_registry(self) -> bool:
        return self._claims_file.exists()

    @property
    def _claims_file(self) -> Path:
        return self.place.secrets / "claims.json"


def _program(name: str) -> Path:
    """Return one of our commands, from the environment that runs us."""
    return Path(sys.executable).parent / name


def _write_secret(path: Path, text: str) -> None:
    write_whole(path, text)
    path.chmod(0o600)

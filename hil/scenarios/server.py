"""The fleet server of a world: installed and run as a process, killed, stopped, restored."""

import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from hil.demo import layout
from hil.demo.fleet import FleetApi
from hil.demo.place import write_whole
from hil.processes import Process, run
from hil.scenarios import registry
from hil.scenarios.errors import BrokenPromise
from hil.scenarios.programs import children_of, command_line, free_port, is_running, program
from hil.scenarios.setup import Setup
from hil.scenarios.waiting import until

_START_S: Final = 60.0
_STOP_S: Final = 5.0


class Server:
    """One installation. Its ports stay the same over all its starts."""

    def __init__(self, folder: Path, setup: Setup, *, env: Mapping[str, str] | None = None) -> None:
        """`folder` is its data folder; `env` is added to the environment of the running server."""
        self.folder: Final = folder
        self.setup: Final = setup
        self.http_port, self.est_port, self.mqtt_port = free_port(), free_port(), free_port()
        self.api: FleetApi
        self._process = Process("the fleet server", [program("fleet"), "serve", "--data", folder], log=self.log, env=env)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder.parent / "log" / "server.log"

    @property
    def est_url(self) -> str:
        """Where nodes enrol."""
        return f"https://127.0.0.1:{self.est_port}"

    @property
    def ca_file(self) -> Path:
        """What a node must trust to enrol."""
        return self.folder / "pki" / "trust" / "servers.pem"

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._process.is_running

    @property
    def pid(self) -> int:
        """The process id; only while it runs."""
        return self._process.pid

    async def install(self, settings: str) -> None:
        """Make it: CAs, database, settings, an API token of an administrator."""
        extra = self.folder.parent / "extra.toml"
        write_whole(extra, settings)
        ports = [("http", self.http_port), ("est", self.est_port), ("mqtt", self.mqtt_port)]
        argv: list[str | Path] = [program("fleet"), "init", "--data", self.folder, "--demo", "--extra-settings", extra]
        argv += [part for name, port in ports for part in (f"--{name}-port", str(port))]
        await run("fleet init", argv)
        self.setup.write_secrets(self.folder)
        if self.setup.is_mosquitto:
            path = self.folder / "fleet.toml"
            write_whole(path, path.read_text().replace("[broker]\n", '[broker]\nmode = "mosquitto"\n', 1))
        token = self.folder.parent / "api-token"
        create: list[str | Path] = [
            program("fleet"),
            "token",
            "create",
            "hil",
            "--role",
            "administrator",
            "--out",
            token,
            "--data",
            self.folder,
        ]
        await run("fleet token create", create)
        self.api = FleetApi(f"http://127.0.0.1:{self.http_port}", token.read_text().strip())

    async def register(self, serials: list[str]) -> dict[str, str]:
        """Import the station with these nodes; return their claim codes."""
        await self.api.import_csv("units", layout.units_csv())
        await self.api.import_csv("zones", layout.zones_csv())
        await self.api.import_csv("nodes", registry.nodes_csv(serials))
        await self.api.import_csv("positions", registry.positions_csv(serials))
        return {serial: (await self.api.post("/claims", {"node": serial, "approve": True}))["code"] for serial in serials}

    async def start(self, *, within_s: float = _START_S) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProcessFailed: it ended by itself.
            TookTooLong: it did not become ready.
        """
        await self._process.start()

        async def is_ready() -> bool:
            self._process.check()
            return await self.api.is_ready()

        await until(is_ready, f"the server is ready ({self._process.last_line()})", within_s=within_s)

    async def stop(self) -> None:
        """Stop it in order (SIGTERM).

        Raises:
            BrokenPromise: it took 5 s or longer, ended badly, or left its broker behind.
        """
        if not self._process.is_running:
            return
        children = children_of(self._process.pid)
        began_s = time.monotonic()
        os.kill(self._process.pid, signal.SIGTERM)
        await until(lambda: not self._process.is_running, "the server stops", within_s=15)
        took_s, status = time.monotonic() - began_s, await self._process.wait()
        if took_s >= _STOP_S or status != 0:
            raise BrokenPromise(f"SIGTERM ended the server after {took_s:.1f} s with status {status}: {self._process.last_line()}")
        await until(lambda: not any(map(is_running, children)), "the server's broker has ended with it", within_s=5)

    async def kill(self) -> None:
        """End it at once (SIGKILL); its broker goes with it."""
        children = children_of(self._process.pid) if self._process.is_running else []
        await self._process.kill()
        await until(lambda: not any(map(is_running, children)), "the broker has died with its server", within_s=10)

    async def aclose(self) -> None:
        """End it in whatever state it is."""
        await self._process.kill()
        if hasattr(self, "api"):
            await self.api.__aexit__(None, None, None)

    def broker_pid(self) -> int | None:
        """Return the broker's process id, None while there is none."""
        if not self._process.is_running:
            return None
        found = [pid for pid in children_of(self._process.pid) if re.search(r"mosquitto|broker\.embedded", command_line(pid))]
        return found[0] if found else None

    async def kill_broker(self) -> None:
        """End the broker at once (SIGKILL); the server must start it again by itself."""
        await until(lambda: self.broker_pid() is not None, "the server has a broker to be killed")
        pid = self.broker_pid()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def _backup(self) -> Path:
        return self.folder.parent / "backup.db"

    def back_up(self) -> None:
        """Copy the SQLite database while the server runs."""
        with closing(sqlite3.connect(self.folder / "fleet.db")) as source, closing(sqlite3.connect(self._backup)) as copy:
            source.backup(copy)

    def restore(self) -> None:
        """Put the copy in the place of the database of a server that is stopped; its time series are lost with it."""
        for old in (*self.folder.glob("fleet.db*"), *self.folder.glob("telemetry.db*")):
            old.unlink()
        shutil.copyfile(self._backup, self.folder / "fleet.db")

    async def metric(self, name: str) -> float:
        """Return one of the server's figures, as Prometheus reads it."""
        text = await self.api.text("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise BrokenPromise(f"the server has no figure {name}")
        return float(found[1])

    async def rebuild(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Make the ledger again from the journal; return what `fleet rebuild` says."""
        said = await run("fleet rebuild", [program("fleet"), "rebuild", "--data", self.folder, "--json"], env=env)
        report: dict[str, Any] = json.loads(said)
        return report

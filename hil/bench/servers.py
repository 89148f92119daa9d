"""The real servers of a bench: InfluxDB 2 and PostgreSQL, started in folders of its own. What is not installed is left out, and said."""

import asyncio
import os
import pwd
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from hil.processes import Process, run
from hil.scenarios.programs import free_port
from hil.scenarios.setup import Influx
from hil.scenarios.waiting import until

_BUCKETS: Final = ("fleet/hot", "fleet/cold", "fleet/events")
_USER: Final = "fleet"


class NotInstalled(Exception):
    """A program is not on this machine; the message names it."""


class InfluxDb:
    """An `influxd` of our own, with the fleet's buckets."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet.

        Raises:
            NotInstalled: there is no influxd on PATH, nor one that the tests built.
        """
        self._port = free_port()
        argv: list[str | Path] = [_influxd(), "--bolt-path", folder / "bolt", "--engine-path", folder / "engine", "--reporting-disabled"]
        argv += ["--sqlite-path", folder / "sqlite", "--http-bind-address", f"127.0.0.1:{self._port}"]
        folder.mkdir(parents=True, exist_ok=True)
        self.process: Final = Process("influxd", argv, log=folder / "influxd.log", env={"INFLUXD_CONFIG_PATH": str(folder)})

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> Influx:
        """Start it and make the buckets."""
        await self.process.start()
        async with httpx.AsyncClient(base_url=self.url, timeout=30.0) as http:
            await until(lambda: self._is_healthy(http), "InfluxDB answers", within_s=90)
            token = secrets.token_urlsafe(24)
            setup = {"username": "bench", "password": secrets.token_urlsafe(12), "org": "fleet", "bucket": "bench", "token": token}
            made = await http.post("/api/v2/setup", json=setup)
            made.raise_for_status()
            for bucket in _BUCKETS:
                body: dict[str, Any] = {"orgID": made.json()["org"]["id"], "name": bucket, "retentionRules": []}
                (await http.post("/api/v2/buckets", json=body, headers={"Authorization": f"Token {token}"})).raise_for_status()
        return Influx(self.url, "fleet", token)

    async def _is_healthy(self, http: httpx.AsyncClient) -> bool:
        self.process.check()
        try:
            return (await http.get("/health")).is_success
        except httpx.TransportError:
            return False


class Postgres:
    """A PostgreSQL of our own, as it is configured out of the box: every commit is on disk."""

    def __init__(self) -> None:
        """Nothing runs yet.

        Raises:
            NotInstalled: there is no PostgreSQL.
        """
        self._programs = _postgres()
        self._folder = Path(tempfile.mkdtemp(prefix="ssz-pg-"))
        self._port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None
        data = self._folder / "data"
        argv = [self._programs / "postgres", "-D", data, "-k", self._folder, "-p", str(self._port), "-c", "listen_addresses=127.0.0.1"]
        self.process: Final = Process("postgres", self._as_user(argv), log=self._folder / "log")

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of an empty database."""
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self._port}/fleet?sslmode=disable"

    async def start(self) -> None:
        """Make the cluster and the database, and start it."""
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            await asyncio.to_thread(os.chown, self._folder, account.pw_uid, account.pw_gid)
        make = [self._programs / "initdb", "-D", self._folder / "data", "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
        await run("initdb", self._as_user(make), within_s=120)
        await self.process.start()
        create: list[str | Path] = [self._programs / "createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", _USER, "fleet"]
        async with asyncio.timeout(60):
            while True:
                try:
                    await run("createdb", create)
                except Exception:  # noqa: BLE001  # not up yet
                    self.process.check()
                    await asyncio.sleep(0.2)
                else:
                    return

    async def stop(self) -> None:
        """Stop it and remove its files."""
        await self.process.stop(within_s=10)
        await self.process.kill()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _as_user(self, argv: list[Any]) -> list[Any]:
        return argv if self._user is None else ["setpriv", f"--reuid={self._user}", "--regid=postgres", "--clear-groups", *argv]


def has_influxdb() -> bool:
    """Whether the program is installed."""
    try:
        _influxd()
    except NotInstalled:
        return False
    return True


def _influxd() -> Path:
    found = shutil.which("influxd")
    if found:
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smart-safety-zone"
    for program in sorted(cache.glob("influxd-*/influxd")):
        if os.access(program, os.X_OK):
            return program
    raise NotInstalled("influxd is not installed (make test builds one)")


def _postgres() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: (len(p.parent.name), p.parent.name), reverse=True)
    for folder in installed:
        if (folder / "initdb").exists():
            return folder
    raise NotInstalled("PostgreSQL is not installed (Debian: postgresql)")

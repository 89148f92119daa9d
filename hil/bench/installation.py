"""One installation under measurement: a server with its broker, database and time series, and what each of its processes uses."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hil.bench.processes import Used, used
from hil.bench.servers import InfluxDb, Postgres, has_influxdb
from hil.demo.fleet import FleetApi
from hil.processes import Process
from hil.scenarios.programs import children_of
from hil.scenarios.server import Server
from hil.scenarios.setup import Influx, Setup
from hil.swarm.command import has_mosquitto, where_is
from hil.swarm.identity import Where


@dataclass(frozen=True, slots=True)
class Parts:
    """What an installation is made of."""

    is_mosquitto: bool
    is_postgres: bool
    is_influx: bool

    def __str__(self) -> str:
        """Name the parts."""
        return " + ".join(
            (
                "Mosquitto" if self.is_mosquitto else "embedded broker",
                "PostgreSQL" if self.is_postgres else "SQLite",
                "InfluxDB" if self.is_influx else "SQLite time series",
            )
        )

    @classmethod
    def best(cls, *, is_postgres: bool = False) -> "Parts":
        """Return Mosquitto and InfluxDB, as far as they are installed."""
        return cls(has_mosquitto(), is_postgres, has_influxdb())


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    processes: dict[str, Used]
    figures: dict[str, float]
    """The server's own, by name with labels, as Prometheus reads them."""


class Installation:
    """A running one. Everything of it dies with the process that made it."""

    def __init__(self, server: Server, parts: Parts, others: dict[str, Process]) -> None:
        """`others` are the database and InfluxDB."""
        self.parts = parts
        self.server = server
        self._others = others
        self.where: Where = where_is(server)

    def pids(self) -> dict[str, list[int]]:
        """Return the processes by part."""
        server = self.server.pid
        found = {"server": [server], "broker": children_of(server)}
        for name, process in self._others.items():
            found[name] = [process.pid, *children_of(process.pid)]
        return found

    async def read(self, api: FleetApi) -> Reading:
        """Read everything."""
        figures = parse_figures(await api.text("/metrics"))
        return Reading({name: _sum([used(pid) for pid in pids]) for name, pids in self.pids().items()}, figures)


@asynccontextmanager
async def installed(folder: Path, parts: Parts, settings: str = "") -> AsyncIterator[Installation]:
    """Yield a fresh installation that runs, and end it."""
    async with AsyncExitStack() as stack:
        others: dict[str, Process] = {}
        influx: Influx | None = None
        if parts.is_influx:
            influxdb = InfluxDb(folder / "influxdb")
            stack.push_async_callback(influxdb.process.stop)
            influx, others["influxdb"] = await influxdb.start(), influxdb.process
        database_url = ""
        if parts.is_postgres:
            postgres = Postgres()
            stack.push_async_callback(postgres.stop)
            await postgres.start()
            database_url, others["postgres"] = postgres.url, postgres.process
        server = Server(folder / "server", Setup(is_mosquitto=parts.is_mosquitto, database_url=database_url, influx=influx))
        await server.install(settings + _settings(database_url, influx))
        stack.push_async_callback(server.aclose)
        await server.start()
        yield Installation(server, parts, others)


def _settings(database_url: str, influx: Influx | None) -> str:
    text = f'\n[database]\nurl = "{database_url}"\n' if database_url else ""
    if influx is not None:
        text += f'\n[telemetry]\nmode = "influxdb"\nurl = "{influx.url}"\norg = "{influx.org}"\n'
    return text


def parse_figures(text: str) -> dict[str, float]:
    """Read Prometheus text."""
    return {found[1]: float(found[2]) for found in re.finditer(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


def _sum(some: list[Used]) -> Used:
    return Used(sum(one.cpu_s for one in some), sum(one.rss_mb for one in some))

"""What a world is made of: which broker, which database, which store of time series."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from hil.faults.proxy import FaultProxy

_SUPERVISION = """
[supervision]   # faster than in the field
panic_button_s = 10.0
camera_s = 10.0
street_light_s = 10.0
sensor_s = 10.0
node_s = 8.0

[ingest]
ack_interval_s = 1.0
"""


@dataclass(frozen=True, slots=True)
class Influx:
    """A real InfluxDB 2 with the buckets `fleet/hot`, `fleet/cold` and `fleet/events`."""

    url: str
    org: str
    token: str


@dataclass(frozen=True, slots=True)
class Setup:
    """The parts of an installation; the default is the embedded one."""

    is_mosquitto: bool = False
    database_url: str = ""
    """SQLAlchemy's URL of an empty PostgreSQL database; empty: SQLite in the data folder."""
    influx: Influx | None = None
    """None: SQLite in the data folder."""

    @property
    def is_real(self) -> bool:
        """Whether it has any part that is not embedded."""
        return self.is_mosquitto or bool(self.database_url) or self.influx is not None

    def database_line(self) -> FaultProxy | None:
        """Return a proxy for the way to the database server, None for SQLite."""
        if not self.database_url:
            return None
        parts = urlsplit(self.database_url)
        folder = parse_qs(parts.query).get("host", [""])[0]
        if folder.startswith("/"):
            return FaultProxy(f"{folder}/.s.PGSQL.{parts.port or 5432}")
        return FaultProxy(parts.hostname or "127.0.0.1", parts.port or 5432)

    def influx_line(self) -> FaultProxy | None:
        """Return a proxy for the way to InfluxDB, None without one."""
        if self.influx is None:
            return None
        parts = urlsplit(self.influx.url)
        return FaultProxy(parts.hostname or "127.0.0.1", parts.port or 8086)

    def settings(self, *, database_port: int, influx_port: int) -> str:
        """Return what is added to the server's settings file; the ports are those of the proxies."""
        text = _SUPERVISION
        if self.database_url:
            text += f'\n[database]\nurl = "{through(self.database_url, database_port)}"\n'
        if self.influx is not None:
            text += f'\n[telemetry]\nmode = "influxdb"\nurl = "http://127.0.0.1:{influx_port}"\norg = "{self.influx.org}"\n'
        return text

    def write_secrets(self, data: Path) -> None:
        """Put what the settings name into the server's data folder."""
        if self.influx is not None:
            path = data / "secrets" / "influxdb-token"
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_text(self.influx.token)


def through(database_url: str, port: int) -> str:
    """Return the URL with the way to the server replaced by a loopback port."""
    parts = urlsplit(database_url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, f"{user}127.0.0.1:{port}", parts.path, "sslmode=disable", ""))


def new_seed() -> int:
    """Return a seed for the random points of a run, to be said so that the run can be repeated."""
    return secrets.randbelow(1_000_000)

"""The server's settings: one TOML file, read once and strictly, into frozen values.

`fleet.example.toml` beside this file shows every field with its default; a test holds the two together. Relative paths
count from the folder of the settings file. Secrets are paths of files, never values.
"""

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from firmware_agent.contract.vocabulary import Kind
from fleet_server.errors import Rejected

FILE_NAME: Final = "fleet.toml"
HOW_TO_HTTPS: Final = (
    "Give the console a certificate (fleet init --console own, upload or acme), or put a proxy that speaks https before it"
    " and say so in [http] public_url."
)

Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(gt=0)]


class BadSettings(Rejected):
    """The settings file cannot be used; the message names the key and the bound."""


class BrokerMode(StrEnum):
    """Who runs the MQTT broker."""

    EMBEDDED = "embedded"
    """This server, in a process of its own, with nothing to install."""
    MOSQUITTO = "mosquitto"
    """This server starts the `mosquitto` program with the generated configuration."""
    EXTERNAL = "external"
    """Somebody else, with the generated configuration."""


class TelemetryMode(StrEnum):
    """Where time series go."""

    SQLITE = "sqlite"
    INFLUXDB = "influxdb"


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class FleetSection(_Section, frozen=True):
    """Who this fleet is."""

    name: str = "Smart Safety Zone"
    is_demo: bool = False
    """A demo scores simulated nodes and shows its first page to everybody; never set it in a real fleet."""


class RolesSection(_Section, frozen=True):
    """What this process does; several processes may share one database."""

    http: bool = True
    ingest: bool = True


class HttpSection(_Section, frozen=True):
    """Console and API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    certificate_file: str = ""
    """PEM chain; with `key_file` the console speaks https. Empty: plain http, for a loopback address or a proxy only."""
    key_file: str = ""
    public_url: Annotated[str, Meta(pattern=r"^(https?://[^/?#]+)?$")] = ""
    """Address that browsers use, such as `https://fleet.example.go.th`; empty: made from host and port."""


class AcmeSection(_Section, frozen=True):
    """The console's certificate from a public CA, ordered and renewed by this server (`reference`: RFC 8555)."""

    directory_url: str = ""
    """The CA's directory; empty: no ACME. The certificate goes to `http.certificate_file`, which is `http.key_file` too."""
    hosts: list[str] = []
    """Names that browsers use."""
    email: str = ""
    """Where the CA writes to."""
    account_file: str = "secrets/acme-accounts.json"
    challenge_host: str = ""
    """Address to answer the CA's question at (HTTP-01); empty: all."""
    challenge_port: Port = 80
    """The CA always asks at port 80: with another one here, forward it."""
    ca_file: str = ""
    """Whom to trust for the directory's own https; empty: what this machine trusts."""


class EstSection(_Section, frozen=True):
    """Enrolment over EST, always TLS (`reference`: RFC 7030)."""

    host: str = "127.0.0.1"
    port: Port = 8443
    certificate_file: str = "pki/server/chain.pem"
    key_file: str = "pki/server/key.pem"


class DatabaseSection(_Section, frozen=True):
    """SQL: `sqlite:///fleet.db` (relative to this file) or `postgresql+psycopg://…`."""

    url: str = "sqlite:///fleet.db"
    password_file: str = ""
    """Password of the URL's user; kept out of the URL."""


class BrokerSection(_Section, frozen=True):
    """The MQTT broker, always mutual TLS."""

    mode: BrokerMode = BrokerMode.EMBEDDED
    host: str = "127.0.0.1"
    port: Port = 8883
    certificate_file: str = "pki/service/svc-core.pem"
    """The server's own client certificate (service CA, CN `svc-core`)."""
    key_file: str = "pki/service/svc-core.key.pem"
    export_dir: str = ""
    """Mode `external`: folder for Mosquitto's configuration and files, kept fresh; see `provisioning.broker.export`. Empty: none."""
    devices_port: Port = 8883
    """Mode `external`: where the exported configuration lets nodes connect; `host` and `port` are for this server alone then."""


class TelemetrySection(_Section, frozen=True):
    """Time series for Grafana."""

    mode: TelemetryMode = TelemetryMode.SQLITE
    path: str = "telemetry.db"
    retention_days: Annotated[int, Meta(ge=1)] = 30
    url: str = "http://127.0.0.1:8086"
    org: str = "fleet"
    token_file: str = "secrets/influxdb-token"  # noqa: S105  # a path, not a token


class PkiSection(_Section, frozen=True):
    """Where the CAs are."""

    dir: str = "pki"
    claim_key_file: str = "secrets/claim-key"


class SupervisionSection(_Section, frozen=True):
    """The latest moment, in seconds, by which the loss of a device must be known and raised."""

    panic_button_s: Seconds = 60
    camera_s: Seconds = 90
    street_light_s: Seconds = 900
    sensor_s: Seconds = 300
    node_s: Seconds = 60

    def by_kind_ms(self) -> dict[Kind, int]:
        """Return the supervision times in milliseconds by kind of device."""
        return {
            Kind.PANIC_BUTTON: int(self.panic_button_s * 1000),
            Kind.CAMERA: int(self.camera_s * 1000),
            Kind.STREET_LIGHT: int(self.street_light_s * 1000),
            Kind.SENSOR: int(self.sensor_s * 1000),
        }


class IngestSection(_Section, frozen=True):
    """Acknowledgements."""

    ack_interval_s: Seconds = 60
    """Heartbeats are acknowledged at most this often, unless there is a birth or a new gap."""


class RetentionSection(_Section, frozen=True):
    """How long the database keeps what is no evidence; journal, ledger, presses, commands and the audit trail are kept for ever."""

    changes_days: Annotated[int, Meta(ge=1, le=3650)] = 7
    """Days of the change log. Who follows it and was away for longer reads everything anew."""


class Settings(_Section, frozen=True):
    """All settings of one server process."""

    fleet: FleetSection = FleetSection()
    roles: RolesSection = RolesSection()
    http: HttpSection = HttpSection()
    acme: AcmeSection = AcmeSection()
    est: EstSection = EstSection()
    database: DatabaseSection = DatabaseSection()
    broker: BrokerSection = BrokerSection()
    telemetry: TelemetrySection = TelemetrySection()
    pki: PkiSection = PkiSection()
    supervision: SupervisionSection = SupervisionSection()
    ingest: IngestSection = IngestSection()
    retention: RetentionSection = RetentionSection()

    @property
    def console_url(self) -> str:
        """The address that browsers use."""
        if self.http.public_url:
            return self.http.public_url
        return f"{'https' if self.http.certificate_file else 'http'}://{self.http.host}:{self.http.port}"

    @property
    def is_overheard(self) -> bool:
        """Whether browsers would send passwords over a network in the clear."""
        address = urlsplit(self.console_url)
        return address.scheme == "http" and not _is_this_machine(address.hostname or "")

    @property
    def est_url(self) -> str:
        """The address that nodes enrol at, without the well-known path."""
        return f"https://{self.est.host}:{self.est.port}"


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(path: Path) -> Settings:
    """Read the settings file.

    Raises:
        BadSettings: it is missing, not TOML, or a key of it is unknown or out of bounds.
    """
    try:
        return read_settings(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise BadSettings(f"There are no settings at {path}. Make them with: fleet init --data {path.parent}") from error
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error


def read_settings(text: bytes, path: Path) -> Settings:
    """Read settings that are, or will be, at `path`.

    Raises:
        BadSettings: they are not TOML, or a key is unknown or out of bounds.
    """
    try:
        return msgspec.toml.decode(text, type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from error


def database_url(settings: Settings, base: Path) -> str:
    """Return SQLAlchemy's URL, with a relative SQLite path made absolute and the password filled in from its file.

    Raises:
        BadSettings: the password file cannot be read.
    """
    url = settings.database.url
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        return f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    if not settings.database.password_file:
        return url
    try:
        password = (base / settings.database.password_file).read_text().strip()
    except OSError as error:
        raise BadSettings(f"database.password_file cannot be read: {error}") from error
    from sqlalchemy.engine import make_url

    return make_url(url).set(password=password).render_as_string(hide_password=False)

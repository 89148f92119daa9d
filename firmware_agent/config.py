"""The node's configuration: one TOML file, read once and strictly, into frozen values.

`node.example.toml` beside this file shows every field with its default; a test holds the two together. Relative paths count
from the folder of the configuration file. Who the node is comes from its enrolment (`identity/`), never from here.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from firmware_agent.contract.ids import parse_channel
from firmware_agent.contract.vocabulary import ClockQuality, Kind
from firmware_agent.errors import ConfigurationError

FILE_NAME: Final = "node.toml"

Port = Annotated[int, Meta(ge=1, le=65_535)]


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class NodeSection(_Section, frozen=True):
    """This machine."""

    data_dir: str = "."
    """Folder of identity, outbox and status; relative to the configuration file."""
    is_simulated: bool = False
    """Marks the node as simulated, for ever; it is never scored outside a demo."""
    status_file: str = ""
    """Where `status.json` is written; empty: in `data_dir`. A path under /run spares the card."""


class ServerSection(_Section, frozen=True):
    """Where the fleet is."""

    mqtt_host: str = "127.0.0.1"
    mqtt_port: Port = 8883
    ca_file: str = ""
    """PEM of the trust anchors; empty: those kept at enrolment, `identity/ca.pem`."""
    keepalive_s: Annotated[int, Meta(ge=1, le=300)] = 20
    """MQTT keep alive, seconds; a dead link is noticed within twice this time."""
    retry_max_s: Annotated[float, Meta(ge=0.1, le=3600)] = 60.0
    """Longest wait between attempts to connect, seconds; the waits double from 1 s, with full jitter."""
    replay_interval_s: Annotated[float, Meta(ge=0.0, le=60)] = 1.0
    """Least time between two replay messages (each ≤ 64 KiB), seconds: spares the uplink after an outage."""
    insecure_no_tls: bool = False
    """Plain MQTT without certificates. For test benches only; it warns."""


class HeartbeatSection(_Section, frozen=True):
    """How often the node speaks."""

    interval_s: Annotated[float, Meta(ge=0.5, le=300)] = 10.0
    """Seconds between heartbeats; a changed verdict is sent at once. The server may set another (`down/desired`)."""


class OutboxSection(_Section, frozen=True):
    """How much is kept while the server cannot be reached."""

    retention_days: Annotated[float, Meta(gt=0, le=366)] = 7
    max_mb: Annotated[int, Meta(ge=1, le=100_000)] = 512
    """Megabytes (2^20) of disk: seven days of 40 devices. Over it the oldest heartbeats are evicted, never an event."""


class ClockSection(_Section, frozen=True):
    """What to believe of the clock."""

    assume: ClockQuality | None = None
    """`ntp` or `rtc`: believe this machine's clock though nothing vouches for it. For demos and benches only; it warns."""


class ChannelSection(_Section, frozen=True):
    """One wired device."""

    channel: str
    """The node's own name of it, such as `cam-1`; 1 to 32 of `a-z 0-9 - _`."""
    kind: Kind
    driver: str
    """Name of the driver, an entry point of `zone_agent.drivers`."""
    settings: dict[str, Any] = {}
    """The driver's own settings; see its documentation."""


class Config(_Section, frozen=True, rename={"channels": "channel"}):
    """All of the node's configuration."""

    node: NodeSection = NodeSection()
    server: ServerSection = ServerSection()
    heartbeat: HeartbeatSection = HeartbeatSection()
    outbox: OutboxSection = OutboxSection()
    clock: ClockSection = ClockSection()
    channels: list[ChannelSection] = []
    base: str = "."
    """Folder of the file; set when it is read."""

    @property
    def data_dir(self) -> Path:
        """Folder of identity, outbox and status."""
        return Path(self.base) / self.node.data_dir

    @property
    def status_file(self) -> Path:
        """Where `status.json` is written."""
        return Path(self.base) / self.node.status_file if self.node.status_file else self.data_dir / "status.json"

    @property
    def ca_file(self) -> Path:
        """PEM of the trust anchors for MQTT."""
        return Path(self.base) / self.server.ca_file if self.server.ca_file else self.data_dir / "identity" / "ca.pem"


def load_config(path: Path) -> Config:
    """Read the configuration file.

    Raises:
        ConfigurationError: it is missing, not TOML, or a key of it is unknown or out of bounds; the message names the key.
    """
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config)
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no configuration at {path}.") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {_plain(str(error))}") from error
    _check(config, path)
    return msgspec.structs.replace(config, base=str(path.parent))


def _plain(text: str) -> str:
    """Turn msgspec's "Expected `int` >= 1 - at `$.server.mqtt_port`" into "server.mqtt_port: Expected `int` >= 1"."""
    what, separator, where = text.rpartition(" - at `$")
    return f"{where.rstrip('`').lstrip('.')}: {what}" if separator else text


def _check(config: Config, path: Path) -> None:
    """What types cannot say."""
    if config.base != ".":
        raise ConfigurationError(f"{path}: base: unknown key")
    for i, section in enumerate(config.channels):
        try:
            parse_channel(section.channel)
        except ValueError as error:
            raise ConfigurationError(f"{path}: channel[{i}].channel: {error}") from error
    twice = [name for name, count in Counter(section.channel for section in config.channels).items() if count > 1]
    if twice:
        raise ConfigurationError(f"{path}: channel: {', '.join(twice)} stands more than once")

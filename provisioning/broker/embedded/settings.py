"""What the embedded broker is told: a JSON or TOML file, read strictly. Paths are absolute, or relative to the working folder."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from provisioning.broker.promise import MAX_PACKET_BYTES
from provisioning.errors import Missing, Rejected


class EmbeddedSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8883
    """0 takes a free one; the ready file says which."""
    certificate_file: str
    """The broker's own chain."""
    key_file: str
    trust_file: str
    """Root, device CA and service CA."""
    device_ca_files: list[str]
    """CAs that sign nodes; several while one follows another."""
    service_ca_files: list[str]
    """CAs that sign `svc-…`."""
    crl_file: str
    """The lists of all these CAs; without its CA's list nobody is let in."""
    ready_file: str = ""
    """Written when it listens: `{"port": …, "pid": …}`."""
    max_packet_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = MAX_PACKET_BYTES
    max_connections: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    """TLS handshake and CONNECT must each be done within this time."""
    max_queued_messages: Annotated[int, Meta(ge=1)] = 5000
    """Kept for a persistent session while its client is away; beyond it the oldest is dropped."""


def load_settings(path: Path) -> EmbeddedSettings:
    """Read the settings file (`.toml`, else JSON).

    Raises:
        Missing: there is no such file.
        Rejected: it cannot be read, or a key is unknown, missing or out of bounds.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".toml":
            return msgspec.toml.decode(data, type=EmbeddedSettings)
        return msgspec.json.decode(data, type=EmbeddedSettings)
    except FileNotFoundError as error:
        raise Missing(f"There is no file {path}.") from error
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"{path}: {error}") from error

"""Which bus a setting means: `tcp://host[:port]`, `rtu-tcp://host:port` (a serial server), `rtu:///dev/ttyUSB0?baudrate=9600&parity=E`."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from firmware_agent.errors import ConfigurationError

_SERIAL: Final = {"baudrate", "parity", "stopbits", "bytesize"}


@dataclass(frozen=True)
class BusAddress:
    """One bus. Equal addresses are the same bus."""

    scheme: str
    host: str = ""
    port: int = 502
    tty: str = ""
    baudrate: int = 9600
    parity: str = "N"
    stopbits: int = 1
    bytesize: int = 8

    def __str__(self) -> str:
        """Show it as it is written in settings."""
        return f"rtu://{self.tty}" if self.scheme == "rtu" else f"{self.scheme}://{self.host}:{self.port}"


def parse_bus(text: str) -> BusAddress:
    """Read a bus address.

    Raises:
        ConfigurationError: it is none; the message says what is expected.
    """
    try:
        parts = urlsplit(text)
        if parts.scheme in ("tcp", "rtu-tcp") and parts.hostname:
            return BusAddress(parts.scheme, parts.hostname, parts.port or 502)
        if parts.scheme == "rtu" and parts.path.startswith("/") and not parts.netloc:
            return _serial(parts.path, parse_qs(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ConfigurationError(f"bus: {text!r}: {error}") from error
    raise ConfigurationError(f"bus: {text!r} is none of tcp://host:port, rtu-tcp://host:port, rtu:///dev/tty…?baudrate=9600&parity=N")


def _serial(tty: str, query: dict[str, list[str]]) -> BusAddress:
    unknown = set(query) - _SERIAL
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    parity = query.get("parity", ["N"])[0].upper()
    if parity not in ("N", "E", "O"):
        raise ValueError("parity is N, E or O")

    def number(name: str, default: int) -> int:
        return int(query.get(name, [str(default)])[0])

    return BusAddress(
        "rtu", tty=tty, parity=parity, baudrate=number("baudrate", 9600), stopbits=number("stopbits", 1), bytesize=number("bytesize", 8)
    )

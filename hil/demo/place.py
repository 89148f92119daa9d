"""The demo's data folder: whose it is now, where things lie in it, and which ports it uses."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hil.demo.errors import DemoFailed

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """The server's ports on 127.0.0.1; chosen once, so that enrolled nodes find the server again."""

    http: int
    est: int
    mqtt: int


@dataclass(frozen=True, slots=True)
class Place:
    """Paths in the data folder."""

    data: Path

    @property
    def server(self) -> Path:
        """The server's data folder."""
        return self.data / "server"

    @property
    def secrets(self) -> Path:
        """The administrator's password and the API token (0700)."""
        return self.data / "secrets"

    @property
    def password_file(self) -> Path:
        """The administrator's password."""
        return self.secrets / "admin-password"

    @property
    def token_file(self) -> Path:
        """An API token of an administrator."""
        return self.secrets / "api-token"

    @property
    def ca_file(self) -> Path:
        """What a node must trust to enrol."""
        return self.server / "pki" / "trust" / "servers.pem"

    @property
    def state_file(self) -> Path:
        """What the demo itself remembers between runs."""
        return self.data / "demo.json"

    @property
    def unfinished_file(self) -> Path:
        """There while the first start has not made everything."""
        return self.data / "unfinished"

    def node(self, serial: str) -> Path:
        """The data folder of one node."""
        return self.data / "nodes" / serial

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.data / "log" / f"{name}.log"


@contextmanager
def taken(data: Path) -> Iterator[Place]:
    """Take the data folder for this process, until the block ends.

    Raises:
        DemoFailed: it cannot be written, or another demo runs in it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "demo.lock").open("a")
    except OSError as error:
        raise DemoFailed(f"The data folder {data} cannot be written ({error.strerror}): name another one with --data.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoFailed(f"A demo runs in {data} already: stop it first, or name another folder with --data.") from error
        place = Place(data.resolve())
        place.secrets.mkdir(mode=0o700, exist_ok=True)
        yield place


def choose_ports(place: Place, http_port: int | None) -> Ports:
    """Return the ports of this demo: those of its first run, or free ones; `http_port` where the user named one.

    Raises:
        DemoFailed: a port that must be used is taken.
    """
    known = _remembered(place)
    if known is not None:
        ports = Ports(http=http_port or known.http, est=known.est, mqtt=known.mqtt)
    else:
        ports = Ports(http=http_port or _free(8080), est=_free(8443), mqtt=_free(8883))
    for name, port in asdict(ports).items():
        if not _is_free(port):
            hint = "name another one with --http-port" if name == "http" else "stop what listens there"
            raise DemoFailed(f"Port {port} ({name}) is taken by another program: {hint}.")
    _remember(place, ports)
    return ports


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path` so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _remembered(place: Place) -> Ports | None:
    try:
        return Ports(**json.loads(place.state_file.read_text())["ports"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DemoFailed(
            f"{place.state_file} is damaged: start afresh with make clean-data, or name another folder with --data."
        ) from error


def _remember(place: Place, ports: Ports) -> None:
    write_whole(place.state_file, json.dumps({"ports": asdict(ports)}, indent=2) + "\n")


def _free(preferred: int) -> int:
    if _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True

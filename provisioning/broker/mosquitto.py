"""Mosquitto: its configuration and ACL, and an adapter that runs it.

Two listeners, because Mosquitto knows a client by its common name alone and would give a certificate of the device CA that says
`svc-core` all the rights of the server. Each listener has an ACL of its own and a CRL file with the list of *one* CA: a leaf whose
issuer has no list there is refused. Tried with 2.0.11, over which `tests/ports/broker/` runs.
"""

import getpass
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_agent.contract.topics import PREFIX, Up
from provisioning.broker.child import Child
from provisioning.broker.promise import CORE, MAX_PACKET_BYTES, BrokerFailed, BrokerFiles, Endpoint
from provisioning.errors import Missing
from provisioning.files import write_file

DEVICE_ACL: Final = "".join(f"pattern write {PREFIX}/%u/up/{message}\n" for message in Up) + f"pattern read {PREFIX}/%u/down/#\n"
"""%u is the common name of the client's certificate. No other topics below `up/`: on each a node could have a message retained for ever."""

CORE_ACL: Final = f"user {CORE}\ntopic readwrite {PREFIX}/#\n"

_PATHS: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True, slots=True, kw_only=True)
class MosquittoSetup:
    """What differs from one installation to the next. All paths are as Mosquitto sees them."""

    files: BrokerFiles
    folder: Path
    """Where configuration, ACLs and sessions are kept; Mosquitto must be able to write here."""
    devices: Endpoint
    core: Endpoint
    user: str = ""
    """Started as root, Mosquitto becomes this user, who must be able to read all files; empty: Mosquitto's default."""

    @property
    def config_file(self) -> Path:
        """The configuration."""
        return self.folder / "mosquitto.conf"

    def texts(self) -> dict[Path, str]:
        """Return the files to write: configuration and ACLs."""
        return {
            self.config_file: self._config(),
            self.folder / "devices.acl": DEVICE_ACL,
            self.folder / "core.acl": CORE_ACL,
        }

    def write(self) -> None:
        """Write the files.

        Raises:
            Rejected: the folder cannot be written.
        """
        for path, text in self.texts().items():
            write_file(path, text.encode())

    def _config(self) -> str:
        user = f"user {self.user}\n" if self.user else ""
        files = self.files
        devices = _listener(self.devices, files, trust=files.devices, crl=files.device_crl, acl=self.folder / "devices.acl")
        core = _listener(self.core, files, trust=files.clients, crl=files.service_crl, acl=self.folder / "core.acl")
        return f"{_general(self.folder)}{user}\n# Nodes.\n{devices}\n# The server's own client, {CORE}.\n{core}"


def _general(folder: Path) -> str:
    # max_queued_messages holds for every session, so it is sized for the server's: with the default of 1000 a stall of 1.4 s lost 8 %.
    # Without set_tcp_nodelay each TLS connect stalls about 40 ms.
    return f"""\
# Generated; changes here are overwritten.
per_listener_settings true
persistence true
persistence_location {folder}/
autosave_interval 60
max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 268435456
max_keepalive 120
persistent_client_expiration 14d
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""


def _listener(endpoint: Endpoint, files: BrokerFiles, *, trust: Path, crl: Path, acl: Path) -> str:
    return f"""\
listener {endpoint.port} {endpoint.host}
cafile {trust}
crlfile {crl}
certfile {files.certificate}
keyfile {files.key}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {acl}
"""


class MosquittoBroker:
    """Runs the `mosquitto` program with the generated configuration."""

    def __init__(self, files: BrokerFiles, folder: Path, *, host: str = "127.0.0.1", port: int, core_port: int = 0) -> None:
        """Prepare it.

        Args:
            files: certificates, key and lists.
            folder: its own; made where needed, readable by us alone.
            host: address for nodes; the server's own client always uses 127.0.0.1.
            port: for nodes.
            core_port: for the server's own client; 0 takes a free one.
        """
        self._files = files
        self.endpoint: Final = Endpoint(host, port)
        self.core_endpoint: Final = Endpoint("127.0.0.1", core_port or _free_port())
        # Root would become the user `mosquitto`, who can read neither our keys nor our folder.
        user = getpass.getuser() if os.geteuid() == 0 else ""
        self._setup = MosquittoSetup(files=files, folder=folder, devices=self.endpoint, core=self.core_endpoint, user=user)
        self._child = Child("mosquitto", [_program(), "-c", self._setup.config_file], log=folder / "mosquitto.log")

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    async def start(self) -> None:
        """See `Broker`."""
        self._files.check()
        self._setup.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._setup.write()
        for endpoint in (self.endpoint, self.core_endpoint):
            if _is_listening(endpoint):
                raise BrokerFailed(f"Port {endpoint.port} is taken by another program: choose another one for the broker.")
        await self._child.start(lambda: _is_listening(self.endpoint) and _is_listening(self.core_endpoint))

    async def stop(self) -> None:
        """See `Broker`."""
        await self._child.stop()

    async def reload(self) -> None:
        """See `Broker`. Connections of revoked certificates stay: Mosquitto looks at a list only when somebody connects.

        With a bad list Mosquitto 2.0 lets everybody in, so it must be checked before (`provisioning.crl` does).
        """
        self._files.check()
        self._child.hang_up()

    async def wait(self) -> str:
        """See `Broker`."""
        return await self._child.wait()


def _program() -> Path:
    found = shutil.which("mosquitto", path=_PATHS)
    if found is None:
        raise Missing('The program mosquitto is not installed: install it, or set mode = "embedded" under [broker].')
    return Path(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_listening(endpoint: Endpoint) -> bool:
    host = "127.0.0.1" if endpoint.host in ("0.0.0.0", "") else endpoint.host  # noqa: S104  # compared, not bound
    try:
        with socket.create_connection((host, endpoint.port), timeout=1.0):
            return True
    except OSError:
        return False

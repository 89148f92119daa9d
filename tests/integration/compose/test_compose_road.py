"""The road that `docker-compose.yml` goes, on this machine: its very commands and configuration, real servers, no containers.

What a container would add is replaced: names of services by 127.0.0.1, ports by free ones, folders by temporary ones.
"""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.engine import make_url

from provisioning.crl import build_crl
from provisioning.files import write_file
from provisioning.pki import load_pki
from provisioning.profile import ProfileName
from tests.compose_file import ROOT, load
from tests.servers.influxdb import InfluxServer
from tests.servers.process import ServerProcess, free_port, is_listening

BIN = Path(sys.executable).parent
NODES_ENROL, NODES_CONNECT, CORE, CONSOLE = "8443", "8883", "8884", "8080"


@dataclass
class Road:
    """The project with what this machine puts in the place of containers."""

    folder: Path
    replaced: dict[str, str]
    project: dict[str, Any] = field(default_factory=dict)
    started: list[ServerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.project = load({"FLEET_HOST": "127.0.0.1"})
        for name in ("srv/fleet", "srv/broker", "srv/grafana-token", "srv/node", "etc", "secrets"):
            (self.folder / name).mkdir(parents=True)
        settings = self.here(self.project["configs"]["fleet.toml"]["content"]).replace('host = "0.0.0.0"', 'host = "127.0.0.1"')
        (self.folder / "etc" / "fleet.toml").write_text(settings)

    def here(self, text: str) -> str:
        """Return a text of the project as it must be on this machine."""
        for there, here in self.replaced.items():
            text = text.replace(there, here)
        return text

    def argv(self, service: str) -> list[str]:
        """Return the command line of a service."""
        found = self.project["services"][service]
        return [self.here(str(part)) for part in [*found.get("entrypoint", []), *found.get("command", [])]]

    def environment(self, service: str) -> dict[str, str]:
        given = self.project["services"][service].get("environment", {})
        return {"PATH": f"{BIN}:{os.environ['PATH']}"} | {key: self.here(value) for key, value in given.items()}

    def run(self, service: str) -> str:
        """Run a service that ends by itself."""
        done = subprocess.run(
            self.argv(service), env=os.environ | self.environment(service), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{service}: {done.stdout[-500:]} {done.stderr[-1500:]}"
        return done.stdout

    def start(self, service: str, is_ready: Callable[[], bool]) -> ServerProcess:
        """Start a service and wait until it is ready."""
        process = ServerProcess(service, self.argv(service), log=self.folder / f"{service}.log", env=self.environment(service))
        self.started.append(process)
        process.start(is_ready=is_ready, within_s=120)
        return process

    def port(self, number: str) -> int:
        return int(self.replaced[number])


@pytest.fixture(scope="module")
def road(
    influxdb_server: InfluxServer, postgres_cluster: Any, mosquitto_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Road]:
    folder = tmp_path_factory.mktemp("compose")
    database = postgres_cluster.create()
    url = make_url(postgres_cluster.url(database))
    org = f"compose-{os.urandom(3).hex()}"
    replaced = {
        "postgresql+psycopg://fleet@postgres/fleet": url.render_as_string(hide_password=False),
        "http://influxdb:8086": influxdb_server.url,
        'org = "fleet"': f'org = "{org}"',
        'host = "broker"': 'host = "127.0.0.1"',
        "https://fleet:8443": f"https://127.0.0.1:{NODES_ENROL}",
        "/srv/": f"{folder}/srv/",
        "/etc/fleet/": f"{folder}/etc/",
        "/run/secrets/": f"{folder}/secrets/",
        "/usr/local/bin/run-mosquitto.sh": str(ROOT / "provisioning" / "broker" / "run-mosquitto.sh"),
        **{number: str(free_port()) for number in (NODES_ENROL, NODES_CONNECT, CORE, CONSOLE)},
    }
    road = Road(folder, replaced)
    (folder / "secrets" / "postgres_password").write_text(url.password or "not asked for")
    (folder / "secrets" / "influxdb_operator_token").write_text(influxdb_server.operator_token + "\n")
    yield road
    for process in reversed(road.started):
        process.stop(within_s=15)
    postgres_cluster.drop(database)


@pytest.fixture(scope="module")
def prepared(road: Road) -> str:
    """What the service `prepare` said the first time."""
    return road.run("prepare")


@pytest.fixture(scope="module")
def broker(road: Road, prepared: str) -> ServerProcess:
    if os.geteuid() == 0:  # it would become another user, who cannot read our files; in the container it is ours from the start
        config = road.folder / "srv" / "broker" / "mosquitto.conf"
        config.write_text(f"user root\n{config.read_text()}")
    return road.start("broker", lambda: all(is_listening(road.port(port)) for port in (NODES_CONNECT, CORE)))


@pytest.fixture(scope="module")
def console(road: Road, broker: ServerProcess) -> str:
    """The console's address, once the service `fleet` is ready as its health check means it."""
    url = f"http://127.0.0.1:{road.port(CONSOLE)}"
    road.start("fleet", lambda: _is_ready(url))
    return url


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=4).is_success
    except httpx.TransportError:
        return False


def test_prepare_leaves_what_the_others_need(road: Road, prepared: str) -> None:
    assert "/setup/" in prepared, "the first administrator's link is in the log"
    files = {str(path.relative_to(road.folder / "srv")) for path in (road.folder / "srv").rglob("*") if path.is_file()}
    assert {"grafana-token/influxdb", "fleet/secrets/influxdb-token", "fleet/fleet.toml", "broker/mosquitto.conf"} <= files
    assert not any(".key" in file or "ca/" in file for file in files if file.startswith("broker/")), "no key of a CA is for the broker"
    assert stat.S_IMODE((road.folder / "srv/broker/server/key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((road.folder / "srv/grafana-token/influxdb").stat().st_mode) == 0o640


def test_prepare_may_run_again_and_changes_nothing(road: Road, prepared: str) -> None:
    def contents() -> dict[Path, bytes]:
        lists = ("crl", "mosquitto.db", ".lock")
        paths = [path for path in (road.folder / "srv").rglob("*") if path.is_file() and not any(part in path.name for part in lists)]
        return {path: path.read_bytes() for path in paths}

    before = contents()
    again = road.run("prepare")
    assert "/setup/" not in again, "there is an administrator: no second link"
    assert contents() == before


def test_server_is_ready_on_postgresql_influxdb_and_mosquitto(console: str) -> None:
    checks = httpx.get(f"{console}/readyz", timeout=5).json()["checks"]
    assert set(checks.values()) == {"ok"}


def test_simulated_node_enrols_and_its_camera_reaches_influxdb(road: Road, console: str, influxdb_server: InfluxServer) -> None:
    road.run("register-node")
    road.run("register-node")  # and again
    argv = [*("127.0.0.1" if part == "broker" else part for part in road.argv("node")), "--mqtt-port", str(road.port(NODES_CONNECT))]
    node = ServerProcess("node", argv, log=road.folder / "node.log", env=road.environment("node"))
    road.started.append(node)
    node.start(is_ready=lambda: _is_alive(road), within_s=120)
    token = (road.folder / "srv/grafana-token/influxdb").read_text()
    _until(lambda: _series(influxdb_server, token, 'SELECT last("rtt_ms") FROM "hot"."heartbeat" GROUP BY "position"') == {"TWN-SIM-CAM"})
    node.send(signal.SIGUSR1)  # somebody presses
    _until(lambda: _series(influxdb_server, token, 'SELECT last("link_ms") FROM "events"."event" GROUP BY "position"') == {"TWN-SIM-SOS"})
    node.stop(within_s=20)


def test_broker_reads_new_lists_by_itself(road: Road, broker: ServerProcess) -> None:
    """Runs after the node has enrolled: it is let in until its certificate is on a list that the broker finds by itself."""
    assert _is_let_in(road)
    pki = load_pki(road.folder / "srv/fleet/pki")
    now = datetime.now(UTC)
    serial = x509.load_pem_x509_certificate((road.folder / "srv/node/identity/cert.pem").read_bytes()).serial_number
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    crl = build_crl(pki.issuer(ProfileName.DEVICE_CA), number=int(now.timestamp()) + 100, now=now, entries=[entry])
    write_file(road.folder / "srv/broker/pki/crl/device-ca.crl.pem", crl.public_bytes(Encoding.PEM))
    _until(lambda: not _is_let_in(road), within_s=30)
    assert broker.is_running


def _is_let_in(road: Road) -> bool:
    """Whether the broker answers the node's CONNECT (MQTT 3.1.1, §3.1)."""
    node = road.folder / "srv" / "node"
    tls = ssl.create_default_context(cafile=node / "anchors.pem")
    tls.load_cert_chain(node / "identity" / "cert.pem", node / "identity" / "key.pem")
    try:
        raw = socket.create_connection(("127.0.0.1", road.port(NODES_CONNECT)), timeout=5)
        with raw, tls.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(bytes.fromhex("100d00044d5154540402003c000178"))
            return connection.recv(4)[:1] == b"\x20"
    except OSError:
        return False


def _is_alive(road: Road) -> bool:
    argv = [road.here(part) for part in road.project["services"]["node"]["healthcheck"]["test"][1:]]
    return subprocess.run([str(BIN / argv[0]), *argv[1:]], capture_output=True, timeout=30, check=False).returncode == 0


def _series(server: InfluxServer, token: str, query: str) -> set[str]:
    answer = httpx.get(f"{server.url}/query", params={"db": "fleet", "q": query}, headers={"Authorization": f"Token {token}"}, timeout=10)
    answer.raise_for_status()
    return {series["tags"]["position"] for series in answer.json()["results"][0].get("series", [])}


def _until(condition: Callable[[], bool], within_s: float = 90) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, "it took too long"
        time.sleep(0.2)


def test_claim_is_used_up(road: Road, console: str) -> None:
    """The code on the shared volume is worth nothing once the node has enrolled."""
    known = json.loads((road.folder / "srv/node/claim.json").read_text())
    other = road.folder / "srv" / "thief"
    argv = ["zone-agent", "enrol", "--server", f"https://127.0.0.1:{road.port(NODES_ENROL)}", "--ca"]
    argv += [f"{road.folder}/srv/fleet/pki/trust/servers.pem", "--serial", known["serial"], "--code", known["code"], "--data", str(other)]
    done = subprocess.run([str(BIN / argv[0]), *argv[1:], "--wait", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1

"""The enrolment listener, over real TLS, as `fleet serve` runs it."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn

from fleet_server.clock import SystemClock
from fleet_server.enrolment.est_app import est_app
from fleet_server.enrolment.service import EnrolmentService
from fleet_server.storage import Database
from provisioning.ca import create_pki, issue_server_certificate
from provisioning.pki import Pki
from provisioning.profile import ProfileName
from provisioning.signer import FileSigner
from tests.integration.est.listener import EstServer, Run
from tests.servers.not_run import not_run
from tests.unit.fleet_server.enrolment.fakes import Nodes


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return create_pki(tmp_path_factory.mktemp("est") / "pki", "สถานีตำรวจนครบาลลุมพินี", local_root=True)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('est')}/fleet.db")
    database.create_all()
    yield database
    database.close()


@pytest.fixture(scope="session")
def est_server(tmp_path_factory: pytest.TempPathFactory, pki: Pki, database: Database) -> Iterator[EstServer]:
    folder = tmp_path_factory.mktemp("listener")
    chain, key = folder / "chain.pem", folder / "key.pem"
    credential = issue_server_certificate(pki, ["127.0.0.1"])
    chain.write_bytes(credential.chain_pem)
    key.write_bytes(credential.key_pem)
    nodes = Nodes()
    signer = FileSigner.of(pki, now=lambda: datetime.now(UTC))
    service = EnrolmentService(database, nodes, signer, clock=SystemClock(), claim_key=b"k" * 32, refusal_s=0.02)
    app = est_app(service, [pki.root, pki.certificate(ProfileName.DEVICE_CA)])
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", ssl_certfile=chain, ssl_keyfile=str(key), lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="est")
    thread.start()
    try:
        _wait_until(lambda: server.started or not thread.is_alive())
        yield EstServer(f"https://127.0.0.1:{listener.getsockname()[1]}", pki, service, nodes)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program in a folder of its own and say what it printed when it fails."""

    def start(*command: str | Path, data: bytes = b"", is_ok: bool = True) -> "subprocess.CompletedProcess[bytes]":
        done = subprocess.run([str(c) for c in command], input=data, capture_output=True, cwd=tmp_path, check=False, timeout=60)
        assert not is_ok or done.returncode == 0, done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
        return done

    return start


@pytest.fixture(scope="session")
def strongswan(pytestconfig: pytest.Config) -> str:
    """The program `pki` of strongSwan, with ECDSA."""
    if shutil.which("pki") is None:
        not_run(pytestconfig, "strongSwan", "install strongswan-pki and libstrongswan-standard-plugins")
    command = ["pki", "--gen", "--type", "ecdsa", "--size", "256"]
    if subprocess.run(command, capture_output=True, check=False, timeout=60).returncode != 0:
        not_run(pytestconfig, "strongSwan", "its pki knows no ECDSA: install libstrongswan-standard-plugins")
    return "pki"


def _wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the listener did not start"
        time.sleep(0.01)

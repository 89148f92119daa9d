"""`run-mosquitto.sh` lives and dies with its broker. That it reads new lists: `tests/integration/compose`."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioning import ca
from provisioning.broker.export import MosquittoExport
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.files import SECRET, write_file
from tests.compose_file import ROOT
from tests.servers.process import ServerProcess, free_port, is_listening

SCRIPT = ROOT / "provisioning" / "broker" / "run-mosquitto.sh"


@pytest.fixture
def exported(tmp_path: Path) -> MosquittoExport:
    pki = ca.create_pki(tmp_path / "pki", "Test", local_root=True)
    credential = ca.issue_server_certificate(pki, ["127.0.0.1"])
    write_file(tmp_path / "chain.pem", credential.chain_pem)
    write_file(tmp_path / "key.pem", credential.key_pem, SECRET)
    export = MosquittoExport(
        folder=tmp_path / "broker", devices=Endpoint("127.0.0.1", free_port()), core=Endpoint("127.0.0.1", free_port())
    )
    export.write(BrokerFiles(certificate=tmp_path / "chain.pem", key=tmp_path / "key.pem", pki=tmp_path / "pki"))
    if os.geteuid() == 0:  # it would become another user, who cannot read our files
        config = export.folder / "mosquitto.conf"
        config.write_text(f"user root\n{config.read_text()}")
    return export


@pytest.fixture
def start(mosquitto_program: Path, exported: MosquittoExport, tmp_path: Path) -> Iterator[Callable[[], ServerProcess]]:
    script = ServerProcess("run-mosquitto.sh", ["sh", SCRIPT, exported.folder, "1"], log=tmp_path / "log")

    def begin() -> ServerProcess:
        script.start(is_ready=lambda: _greets(exported.devices.port, tmp_path / "pki" / "root.pem"))
        return script

    yield begin
    script.kill()


def _greets(port: int, root: Path) -> bool:
    """Whether it speaks TLS already: it listens before it minds signals."""
    tls = ssl.create_default_context(cafile=root)
    try:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        with raw, tls.wrap_socket(raw, server_hostname="127.0.0.1"):
            return True
    except OSError:
        return False


def _children(process: ServerProcess) -> list[int]:
    found = subprocess.run(["pgrep", "--parent", str(process.pid), "mosquitto"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_stopped_in_order_it_keeps_its_sessions(start: Callable[[], ServerProcess], exported: MosquittoExport) -> None:
    script = start()
    script.stop(within_s=15)
    assert not is_listening(exported.devices.port)
    assert (exported.folder / "mosquitto.db").exists(), "it was killed, not stopped"


def test_broker_that_dies_ends_it(start: Callable[[], ServerProcess]) -> None:
    script = start()
    (broker,) = _children(script)
    os.kill(broker, signal.SIGKILL)
    script.stop(within_s=15, by=signal.SIGCONT)  # nothing is asked of it: it ends by itself
    assert not script.is_running


def test_folder_that_was_not_exported_is_said(tmp_path: Path) -> None:
    done = subprocess.run(["sh", SCRIPT, tmp_path], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "not wholly, exported" in done.stderr

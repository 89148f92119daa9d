"""The node's own program enrols here."""

import json
import sys
from pathlib import Path

import pytest

from fleet_server.access.model import Scope
from tests.integration.est.listener import EstServer, Run

AGENT = (sys.executable, "-m", "firmware_agent")


def enrol(est_server: EstServer, serial: str, code: str, data: Path, ca: Path) -> list[str]:
    arguments = ["enrol", "--server", est_server.url, "--ca", str(ca), "--serial", serial, "--code", code, "--data", str(data)]
    return [*AGENT, *arguments, "--wait", "10", "--json"]


@pytest.mark.parametrize("ca", ["root.pem", "trust/servers.pem"])
def test_the_agent_enrols_and_may_ask_again(est_server: EstServer, run: Run, tmp_path: Path, ca: str) -> None:
    claim = est_server.add(f"AGENT-{Path(ca).stem}")
    command = enrol(est_server, claim.serial, claim.code, tmp_path / "node", est_server.pki.folder / ca)
    run(*command)
    certificate = (tmp_path / "node" / "identity" / "cert.pem").read_bytes()
    run(*command)
    assert (tmp_path / "node" / "identity" / "cert.pem").read_bytes() == certificate
    assert json.loads((tmp_path / "node" / "identity" / "node.json").read_bytes())["node_id"] == claim.node_id
    assert len(est_server.service.certificates(claim.serial, scope=Scope.ALL)) == 1


def test_a_second_card_with_the_same_label_is_refused(est_server: EstServer, run: Run, tmp_path: Path) -> None:
    claim = est_server.add("AGENT-TWICE")
    run(*enrol(est_server, claim.serial, claim.code, tmp_path / "first", est_server.root_file))
    done = run(*enrol(est_server, claim.serial, claim.code, tmp_path / "second", est_server.root_file), is_ok=False)
    assert done.returncode == 1
    assert b"used by another key" in done.stderr + done.stdout
    assert not (tmp_path / "second" / "identity" / "cert.pem").exists()

"""The console's certificate from a real ACME server: issued, renewed, taken up, refused."""

import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fleet_server.certificates.acme import AcmeOrder, AcmeRefused, AcmeUnavailable
from fleet_server.certificates.pair import names_of, renew_at
from fleet_server.certificates.renewal import order_of
from fleet_server.errors import Rejected
from fleet_server.settings import load_settings
from tests.integration.installation.conftest import Authority, Command, Serving
from tests.servers.process import free_port


def order(authority: Authority, folder: Path) -> AcmeOrder:
    return AcmeOrder(
        directory_url=authority.pebble.url,
        hosts=["127.0.0.1"],
        email="it@example.org",
        account_file=folder / "accounts.json",
        challenge_host="127.0.0.1",
        challenge_port=authority.challenge_port,
        ca_file=authority.ca_file,
    )


def test_account_is_kept_and_key_is_new_each_time(authority: Authority, tmp_path: Path) -> None:
    wanted = order(authority, tmp_path)
    first = wanted.place()
    accounts = wanted.account_file.read_bytes()
    assert wanted.account_file.stat().st_mode & 0o777 == 0o600
    second = wanted.place()
    assert wanted.account_file.read_bytes() == accounts
    assert names_of(first.leaf) == ["127.0.0.1"]
    assert len(x509.load_pem_x509_certificates(first.chain_pem)) > 1, "browsers want the issuing CA too"
    assert first.leaf.public_key() == load_pem_private_key(first.key_pem, None).public_key() != second.leaf.public_key()


def test_account_that_the_ca_has_forgotten_is_made_again(authority: Authority, tmp_path: Path) -> None:
    wanted = order(authority, tmp_path)
    wanted.place()
    known = json.loads(wanted.account_file.read_bytes())
    known[authority.pebble.url]["uri"] += "gone"
    wanted.account_file.write_text(json.dumps(known))
    assert names_of(wanted.place().leaf) == ["127.0.0.1"]
    assert json.loads(wanted.account_file.read_bytes())[authority.pebble.url]["uri"] != known[authority.pebble.url]["uri"]


def test_ca_that_finds_nobody_at_its_port(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(AcmeRefused, match=r"127\.0\.0\.1.*port 80"):
        replace(order(authority, tmp_path), challenge_port=free_port()).place()


def test_host_that_no_ca_can_reach(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(AcmeRefused):
        replace(order(authority, tmp_path), hosts=["no-such-host.invalid"]).place()


def test_ca_that_is_away(tmp_path: Path, authority: Authority) -> None:
    authority.pebble.stop()
    with pytest.raises(AcmeUnavailable, match="cannot be reached"):
        order(authority, tmp_path).place()


def test_ca_that_refuses_each_nonce(tmp_path: Path, start_authority: Callable[..., Authority]) -> None:
    with pytest.raises(AcmeUnavailable, match="nonce"):
        order(start_authority(refused_percent=100), tmp_path).place()


def test_directory_that_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(AcmeUnavailable, match=r"(?i)certificate"):
        replace(order(authority, tmp_path), ca_file=None).place()


def test_port_of_the_question_is_taken(authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", authority.challenge_port)), pytest.raises(Rejected, match="taken"):
        order(authority, tmp_path).place()


def test_account_file_that_is_damaged(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text("{")
    with pytest.raises(Rejected, match=r"accounts\.json"):
        order(authority, tmp_path).place()


def test_refused_at_first_then_run_again(command: Command, ports: list[object], authority: Authority) -> None:
    elsewhere = [free_port() if option == authority.challenge_port else option for option in authority.options]
    assert "port 80" in command.fails("fleet", "init", *ports, *elsewhere)
    assert not (command.data / "fleet.toml").exists()
    made = command.json("fleet", "init", *ports, *authority.options)
    assert made["administrator"]["url"].startswith("https://127.0.0.1:")
    order = order_of(load_settings(command.data / "fleet.toml"), command.data)
    assert order is not None
    assert order.challenge_port == authority.challenge_port


def test_renewed_and_taken_up_while_it_serves(
    command: Command, ports: list[object], start_authority: Callable[..., Authority], serve: Callable[..., Serving]
) -> None:
    authority = start_authority(life_s=45)  # due after 30 to 34 s
    command.json("fleet", "init", *ports, *authority.options)
    file = command.data / "pki" / "console" / "acme.pem"
    first = x509.load_pem_x509_certificates(file.read_bytes())[0]
    life = first.not_valid_after_utc - first.not_valid_before_utc
    assert renew_at(first) <= first.not_valid_before_utc + life * 0.75
    server = serve()
    port = int(server.ready["console_url"].rsplit(":", 1)[1])
    _until(lambda: _served(port) not in {b"", first.public_bytes(Encoding.DER)}, within_s=150)
    assert "has a new certificate" in server.log
    assert file.stat().st_mode & 0o777 == 0o600


def _served(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, context.wrap_socket(raw) as secured:
        return secured.getpeercert(binary_form=True) or b""


def _until(condition: Callable[[], bool], *, within_s: float) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.5)

"""Programs that others wrote enrol here: strongSwan's EST client, and curl with openssl."""

import base64
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from fleet_server.access.model import Scope
from fleet_server.enrolment.model import State
from provisioning.ca import create_pki
from provisioning.profile import ProfileName
from tests.integration.est.listener import EstServer, Run

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def test_strongswan_fetches_the_cas(strongswan: str, est_server: EstServer, run: Run, tmp_path: Path) -> None:
    run(
        strongswan,
        "--estca",
        "--url",
        est_server.url,
        "--cacert",
        est_server.root_file,
        "--caout",
        tmp_path / "ca",
        "--outform",
        "pem",
        "--force",
    )
    written = {x509.load_pem_x509_certificate(p.read_bytes()) for p in tmp_path.iterdir() if p.is_file()}
    assert written == {est_server.pki.root, est_server.pki.certificate(ProfileName.DEVICE_CA)}


def test_strongswan_enrols(strongswan: str, est_server: EstServer, run: Run, tmp_path: Path) -> None:
    claim = est_server.add("SWAN-1")
    key, request, answer = tmp_path / "key.pem", tmp_path / "request.pem", tmp_path / "cert.pem"
    key.write_bytes(run(strongswan, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem").stdout)
    asked = run(
        strongswan,
        "--req",
        "--type",
        "ecdsa",
        "--in",
        key,
        "--dn",
        "C=TH, O=Evil, CN=somebody else",
        "--san",
        "evil.example.com",
        "--outform",
        "pem",
    )
    request.write_bytes(asked.stdout)
    device_ca = tmp_path / "device-ca.pem"
    device_ca.write_bytes((est_server.pki.folder / "device-ca.pem").read_bytes())
    enrolled = run(
        *(strongswan, "--est", "--url", est_server.url, "--in", request, "--cacert", est_server.root_file, "--cacert", device_ca),
        *("--userpass", f"{claim.serial}:{claim.code}", "--outform", "pem"),
    )
    answer.write_bytes(enrolled.stdout)
    certificate = x509.load_pem_x509_certificate(enrolled.stdout)
    assert certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == claim.node_id
    run("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", est_server.pki.folder / "trust" / "devices.pem", answer)
    run(strongswan, "--verify", "--in", answer, "--cacert", est_server.root_file, "--cacert", device_ca)


@needs_curl
def test_curl_and_openssl_enrol(est_server: EstServer, run: Run, tmp_path: Path) -> None:
    claim = est_server.add("CURL-1", approve=False)
    base = est_server.url + "/.well-known/est"
    curl = ("curl", "--silent", "--show-error", "--cacert", est_server.root_file)
    attributes = base64.b64decode(run(*curl, f"{base}/csrattrs").stdout)
    assert b"prime256v1" in run("openssl", "asn1parse", "-inform", "DER", data=attributes).stdout
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
    request = run("openssl", "req", "-new", "-key", "key.pem", "-subj", "/CN=whatever", "-outform", "DER").stdout
    wrapped = run("openssl", "base64", "-e", data=request).stdout
    kind = ("-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64", "--data-binary", "@-")
    enrol = (*curl, "--user", f"{claim.serial}:{claim.code.lower()}", *kind, "-D", "headers", f"{base}/simpleenroll")
    waiting = run(*enrol, data=wrapped)
    assert waiting.stdout == b"Waiting for approval.\n"
    assert "202" in (tmp_path / "headers").read_text().splitlines()[0]
    est_server.service.approve(claim.node_id, actor="somchai", scope=Scope.ALL)
    answer = run(*enrol, data=wrapped).stdout
    headers = (tmp_path / "headers").read_text().lower()
    assert "content-type: application/pkcs7-mime; smime-type=certs-only" in headers
    assert "content-transfer-encoding: base64" in headers
    assert f"content-length: {len(answer)}" in headers
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
    (tmp_path / "answer.p7").write_bytes(base64.b64decode(answer))
    printed = run("openssl", "pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs").stdout.decode()
    assert printed.count("BEGIN CERTIFICATE") == 1
    assert claim.node_id in printed
    assert est_server.service.enrolment(claim.node_id, scope=Scope.ALL).state is State.PROVISIONED
    assert run(*enrol, data=wrapped).stdout == answer
    (stored,) = est_server.service.certificates(claim.node_id, scope=Scope.ALL)
    assert stored.serial == f"{certificate.serial_number:x}"


@needs_curl
def test_curl_refuses_a_server_of_another_fleet(est_server: EstServer, run: Run, tmp_path: Path) -> None:
    other = create_pki(tmp_path / "other", "Other", local_root=True)
    done = run("curl", "--silent", "--cacert", other.folder / "root.pem", f"{est_server.url}/.well-known/est/cacerts", is_ok=False)
    assert done.returncode == 60

"""Each certificate is its row of the table, to the last extension, and three independent programs agree."""

import asyncio
import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firmware_agent.contract.ids import NodeId
from provisioning.ca import create_pki, issue_server_certificate, issue_service_certificate
from provisioning.errors import Rejected
from provisioning.pki import ISSUING, Pki, pem
from provisioning.profile import (
    PROFILES,
    Distribution,
    ProfileName,
    build,
    ca_names,
    device_names,
    parse_serial,
    server_names,
    service_names,
)
from provisioning.signer import FileSigner, IssueRequest

NODE = NodeId("b57e43d8-ab35-48c6-8a6b-d3371faa0fed")
HOSTS = ["fleet.example.go.th", "10.1.2.3", "2001:db8::7"]


@pytest.fixture(scope="module")
def leaves(
    pki: Pki,
    made_at: datetime,
    node_key: ec.EllipticCurvePrivateKey,
    spki: Callable[[ec.EllipticCurvePrivateKey], bytes],
    leaf_of: Callable[[bytes], x509.Certificate],
) -> dict[ProfileName, x509.Certificate]:
    request = IssueRequest(profile=ProfileName.DEVICE, node_id=NODE, serial_label="SSZ-0001", public_key=spki(node_key))
    return {
        ProfileName.DEVICE: asyncio.run(FileSigner.of(pki, now=lambda: made_at).issue(request)),
        ProfileName.SERVER: leaf_of(issue_server_certificate(pki, HOSTS, now=made_at).chain_pem),
        ProfileName.SERVICE: leaf_of(issue_service_certificate(pki, "svc-core", now=made_at).chain_pem),
    }


@pytest.fixture(scope="module")
def everything(pki: Pki, leaves: dict[ProfileName, x509.Certificate]) -> dict[ProfileName, x509.Certificate]:
    return {**pki.certificates, **leaves}


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> tuple[object, bool]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.value, found.critical


@pytest.mark.parametrize("name", list(ProfileName))
def test_usage_is_the_profile_s_and_critical(everything: dict[ProfileName, x509.Certificate], name: ProfileName) -> None:
    certificate = everything[name]
    is_ca = name in (ProfileName.ROOT, *ISSUING)
    path_length = {ProfileName.ROOT: 1}.get(name, 0) if is_ca else None
    assert extension(certificate, x509.BasicConstraints) == (x509.BasicConstraints(ca=is_ca, path_length=path_length), True)
    usage, is_critical = extension(certificate, x509.KeyUsage)
    assert isinstance(usage, x509.KeyUsage)
    assert is_critical
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (is_ca, is_ca, not is_ca)
    others = (usage.content_commitment, usage.key_encipherment, usage.data_encipherment, usage.key_agreement)
    assert others == (False,) * 4


@pytest.mark.parametrize(
    ("name", "usages"),
    [
        (ProfileName.DEVICE_CA, [ExtendedKeyUsageOID.CLIENT_AUTH]),
        (ProfileName.SERVER_CA, [ExtendedKeyUsageOID.SERVER_AUTH]),
        (ProfileName.SERVICE_CA, [ExtendedKeyUsageOID.CLIENT_AUTH]),
        (ProfileName.DEVICE, [ExtendedKeyUsageOID.CLIENT_AUTH]),
        (ProfileName.SERVER, [ExtendedKeyUsageOID.SERVER_AUTH]),
        (ProfileName.SERVICE, [ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_no_certificate_is_both_client_and_server(
    everything: dict[ProfileName, x509.Certificate], name: ProfileName, usages: list[x509.ObjectIdentifier]
) -> None:
    assert extension(everything[name], x509.ExtendedKeyUsage) == (x509.ExtendedKeyUsage(usages), False)


def test_keys_and_signatures(everything: dict[ProfileName, x509.Certificate]) -> None:
    for name, certificate in everything.items():
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == ("secp384r1" if name is ProfileName.ROOT else "secp256r1")
        is_signed_by_root = name is ProfileName.ROOT or name in ISSUING
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384 if is_signed_by_root else hashes.SHA256)


def test_a_device_is_named_by_the_registry(leaves: dict[ProfileName, x509.Certificate], pki: Pki) -> None:
    device = leaves[ProfileName.DEVICE]
    assert [(a.oid, a.value) for a in device.subject] == [
        (NameOID.ORGANIZATION_NAME, pki.organisation),
        (NameOID.SERIAL_NUMBER, "SSZ-0001"),
        (NameOID.COMMON_NAME, NODE),
    ]
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{NODE}")])
    assert extension(device, x509.SubjectAlternativeName) == (names, False)


def test_a_server_is_named_by_its_hosts_and_loopback(leaves: dict[ProfileName, x509.Certificate]) -> None:
    names, _ = extension(leaves[ProfileName.SERVER], x509.SubjectAlternativeName)
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["fleet.example.go.th"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "2001:db8::7", "127.0.0.1"]
    assert leaves[ProfileName.SERVER].subject.rfc4514_string() == "CN=fleet.example.go.th"


def test_a_host_too_long_for_a_common_name_is_still_a_name() -> None:
    long = ".".join(["a" * 30] * 3)
    names = server_names([long])
    assert names.subject.rfc4514_string() == "CN=127.0.0.1"
    assert names.alternative == (x509.DNSName(long), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


def test_lives(everything: dict[ProfileName, x509.Certificate], made_at: datetime) -> None:
    epoch = made_at - timedelta(days=1)
    hour_before = made_at - timedelta(hours=1)
    starts = {
        ProfileName.ROOT: epoch,
        ProfileName.SERVER_CA: epoch,
        ProfileName.SERVER: epoch,  # so that a node whose clock lags never finds it in the future
        ProfileName.DEVICE_CA: hour_before,
        ProfileName.SERVICE_CA: hour_before,
        ProfileName.DEVICE: hour_before,
        ProfileName.SERVICE: hour_before,
    }
    assert {name: c.not_valid_before_utc for name, c in everything.items()} == starts
    assert {name: c.not_valid_after_utc for name, c in everything.items()} == {p.name: made_at + p.life for p in PROFILES.values()}
    assert PROFILES[ProfileName.DEVICE].life == timedelta(days=90)


def test_no_leaf_outlives_its_issuer(pki: Pki, leaf_of: Callable[[bytes], x509.Certificate]) -> None:
    issuer = pki.certificate(ProfileName.SERVER_CA)
    late = issuer.not_valid_after_utc - timedelta(days=10)
    assert leaf_of(issue_server_certificate(pki, [], now=late).chain_pem).not_valid_after_utc == issuer.not_valid_after_utc
    with pytest.raises(Rejected, match="ended on"):
        issue_server_certificate(pki, [], now=issuer.not_valid_after_utc)


def test_a_clock_before_the_ca_is_noticed(pki: Pki, made_at: datetime) -> None:
    with pytest.raises(Rejected, match="good only from 2026-11-24 08:30 UTC, and by this machine's clock it is 1970-01-01"):
        issue_service_certificate(pki, "svc-core", now=datetime.fromtimestamp(0, UTC))
    assert issue_service_certificate(pki, "svc-core", now=made_at)


def test_serials_are_random_and_positive(pki: Pki, leaf_of: Callable[[bytes], x509.Certificate]) -> None:
    serials = {leaf_of(issue_service_certificate(pki, "svc-core").chain_pem).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(1 << 64 < s < 1 << 159 for s in serials)


@pytest.mark.parametrize("bad", ["+", "#", "ssz/1/#", "%u", NODE.upper(), NODE + "\0", "svc-core", "", NODE + "\n", "{" + NODE + "}"])
def test_a_device_is_named_by_a_lower_case_uuid_only(bad: str) -> None:
    with pytest.raises(Rejected, match="lower-case UUID"):
        device_names("Lumpini", "SSZ-1", NodeId(bad))


@pytest.mark.parametrize("bad", ["core", "svc-", "svc-+", "svc-#", "svc-Core", "svc-a/b", "svc-a\0", "svc-a-", NODE, "svc-" + "a" * 61])
def test_a_service_is_named_svc_only(bad: str) -> None:
    with pytest.raises(Rejected, match="A service is named"):
        service_names("Lumpini", bad)


@pytest.mark.parametrize("bad", ["", "-1", "a b", "a_b", "ก", "a:b", "a" * 65, "a\n", "a\0"])
def test_a_serial_fits_a_printable_string_and_a_login(bad: str) -> None:
    with pytest.raises(Rejected, match="A serial is"):
        parse_serial(bad)


@pytest.mark.parametrize(
    "bad", ["", " ", "*.example.com", "a..b", "-a.b", "a-.b", "a_b", "http://a", "a/b", "ก.ไทย", "a" * 64, "fe80::1%eth0"]
)
def test_a_host_is_a_name_or_an_address(bad: str) -> None:
    with pytest.raises(Rejected, match="Neither a DNS name nor"):
        server_names([bad])


@pytest.mark.parametrize("bad", ["", "  ", "a" * 65, "a\nb", "a\0"])
def test_an_organisation_is_printable(bad: str) -> None:
    with pytest.raises(Rejected, match="organisation"):
        ca_names(bad, "R1")


def test_a_certificate_needs_somebody_to_sign(node_key: ec.EllipticCurvePrivateKey, made_at: datetime) -> None:
    with pytest.raises(ValueError, match="issuer"):
        build(PROFILES[ProfileName.ROOT], ca_names("a", "b"), node_key.public_key(), issuer=None, now=made_at)


# Independent programs


def _lint(path: Path) -> set[str]:
    linter = Path(sys.executable).parent / "lint_pkix_cert"
    command = [str(linter), "lint", "-s", "NOTICE", "-f", "JSON", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)["results"]
    return {finding["code"] for result in results for finding in result["finding_descriptions"]}


@pytest.mark.parametrize("name", list(ProfileName))
def test_pkilint_finds_nothing_but_the_urn(everything: dict[ProfileName, x509.Certificate], name: ProfileName, tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem(everything[name]))
    # `urn:uuid:` is a legal URI (RFC 5280 §4.2.1.6); pkilint takes only those that look like http.
    assert _lint(path) == ({"pkix.invalid_uri_syntax"} if name is ProfileName.DEVICE else set())


def test_pkilint_finds_nothing_in_distribution_points(
    pki: Pki, node_key: ec.EllipticCurvePrivateKey, made_at: datetime, tmp_path: Path
) -> None:
    where = Distribution("http://fleet.example.go.th/crl/device-ca.crl", "http://fleet.example.go.th/ca/device-ca.cer")
    names = device_names("Lumpini", "SSZ-1", NODE)
    issuer = pki.issuer(ProfileName.DEVICE_CA)
    certificate = build(PROFILES[ProfileName.DEVICE], names, node_key.public_key(), issuer=issuer, now=made_at, distribution=where)
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem(certificate))
    assert _lint(path) == {"pkix.invalid_uri_syntax"}


@pytest.mark.parametrize(
    ("name", "purpose", "is_accepted"),
    [
        (ProfileName.DEVICE, "sslclient", True),
        (ProfileName.DEVICE, "sslserver", False),
        (ProfileName.SERVER, "sslserver", True),
        (ProfileName.SERVER, "sslclient", False),
        (ProfileName.SERVICE, "sslclient", True),
        (ProfileName.SERVICE, "sslserver", False),
    ],
)
def test_openssl_agrees(
    pki: Pki,
    leaves: dict[ProfileName, x509.Certificate],
    made_at: datetime,
    tmp_path: Path,
    name: ProfileName,
    purpose: str,
    is_accepted: bool,
) -> None:
    leaf, issuing = tmp_path / "leaf.pem", tmp_path / "issuing.pem"
    leaf.write_bytes(pem(leaves[name]))
    issuing.write_bytes(pem(*(pki.certificate(n) for n in ISSUING)))
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(made_at.timestamp()) + 60), "-crl_check"]
    command += ["-CRLfile", str(pki.crl_file), "-CAfile", str(pki.folder / "root.pem"), "-untrusted", str(issuing), str(leaf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) is is_accepted, done.stderr


def test_gnutls_agrees(node_key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    pki = create_pki(tmp_path / "pki", "Lumpini", local_root=True)  # at this machine's time: certtool knows no other
    device = build(
        PROFILES[ProfileName.DEVICE],
        device_names("Lumpini", "SSZ-1", NODE),
        node_key.public_key(),
        issuer=pki.issuer(ProfileName.DEVICE_CA),
        now=datetime.now(UTC),
    )
    chains = {
        "1.3.6.1.5.5.7.3.1": issue_server_certificate(pki, HOSTS).chain_pem,
        "1.3.6.1.5.5.7.3.2": issue_service_certificate(pki, "svc-core").chain_pem,
        "1.3.6.1.5.5.7.3.2 ": pem(device, pki.certificate(ProfileName.DEVICE_CA)),
    }
    for purpose, chain in chains.items():
        path = tmp_path / "chain.pem"
        path.write_bytes(chain)
        command = ["certtool", "--verify", "--infile", str(path), "--load-ca-certificate", str(pki.folder / "root.pem")]
        command += ["--verify-purpose", purpose.strip()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Chain verification output: Verified" in done.stdout

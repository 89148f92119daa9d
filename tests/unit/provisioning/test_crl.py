"""A list is published only when it is good, and never forgets; a bad one leaves the last good file in place."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from provisioning.ca import issue_service_certificate
from provisioning.crl import LIFE, ROOT_LIFE, build_crl, check_crl, load_crl, number_of, refresh_crls, sign_root_crl
from provisioning.errors import Missing, Rejected, Untrusted
from provisioning.pki import ISSUING, Pki, crl_path, key_path, load_pki
from provisioning.profile import ProfileName


def published(pki: Pki) -> list[x509.CertificateRevocationList]:
    parts = pki.crl_file.read_bytes().split(b"-----END X509 CRL-----\n")
    return [x509.load_pem_x509_crl(part + b"-----END X509 CRL-----\n") for part in parts if part.strip()]


def revoked(serial: int, at: datetime) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()


def save(pki: Pki, name: ProfileName, crl: x509.CertificateRevocationList) -> None:
    crl_path(pki.folder, name).write_bytes(crl.public_bytes(serialization.Encoding.PEM))


def test_every_ca_has_a_list_from_the_start(own_pki: Pki, made_at: datetime) -> None:
    lists = published(own_pki)
    assert [c.issuer for c in lists] == [own_pki.certificate(n).subject for n in (ProfileName.ROOT, *ISSUING)]
    assert all(len(c) == 0 for c in lists)
    assert {c.last_update_utc for c in lists} == {made_at - timedelta(minutes=10)}
    assert [c.next_update_utc for c in lists] == [made_at + ROOT_LIFE, *[made_at + LIFE] * 3]


def test_a_refresh_is_longer_lived_and_higher(own_pki: Pki, made_at: datetime) -> None:
    before = published(own_pki)
    later = made_at + timedelta(minutes=15)
    assert refresh_crls(own_pki.folder, later) == later + LIFE
    after = published(own_pki)
    assert after[0] == before[0], "the root's list is signed once a year"
    assert all(number_of(new) > number_of(old) for new, old in zip(after[1:], before[1:], strict=True))


def test_numbers_grow_though_the_clock_stands_or_goes_back(own_pki: Pki, made_at: datetime) -> None:
    numbers = []
    for now in (made_at, made_at, made_at - timedelta(minutes=30)):
        refresh_crls(own_pki.folder, now)
        numbers.append(number_of(published(own_pki)[1]))
    assert numbers == sorted(set(numbers))


def test_a_refresh_forgets_nobody(own_pki: Pki, made_at: datetime) -> None:
    crl = build_crl(own_pki.issuer(ProfileName.DEVICE_CA), number=7, now=made_at, entries=[revoked(4711, made_at)])
    save(own_pki, ProfileName.DEVICE_CA, crl)
    refresh_crls(own_pki.folder, made_at)
    refresh_crls(own_pki.folder, made_at)
    assert published(own_pki)[1].get_revoked_certificate_by_serial_number(4711) is not None


@pytest.mark.parametrize("name", [ProfileName.DEVICE_CA, ProfileName.ROOT])
@pytest.mark.parametrize("body", [b"", b"garbage"])
def test_a_spoilt_list_is_noticed_and_the_good_file_stays(own_pki: Pki, made_at: datetime, name: ProfileName, body: bytes) -> None:
    before = own_pki.crl_file.read_bytes()
    crl_path(own_pki.folder, name).write_bytes(body)
    with pytest.raises(Untrusted, match="does not hold a list"):
        refresh_crls(own_pki.folder, made_at)
    assert own_pki.crl_file.read_bytes() == before


def test_a_clock_before_the_ca_signs_no_list_that_is_over_once_it_is_set(own_pki: Pki) -> None:
    before = own_pki.crl_file.read_bytes()
    with pytest.raises(Rejected, match="clock"):
        refresh_crls(own_pki.folder, datetime.fromtimestamp(0, UTC))
    assert own_pki.crl_file.read_bytes() == before


def test_a_list_of_another_ca_is_noticed(own_pki: Pki, pki: Pki, made_at: datetime) -> None:
    before = own_pki.crl_file.read_bytes()
    save(own_pki, ProfileName.DEVICE_CA, build_crl(pki.issuer(ProfileName.DEVICE_CA), number=1, now=made_at))
    with pytest.raises(Untrusted, match="not one that"):
        refresh_crls(own_pki.folder, made_at)
    assert own_pki.crl_file.read_bytes() == before


def test_without_its_key_a_ca_keeps_its_list_while_it_is_good(own_pki: Pki, made_at: datetime) -> None:
    key_path(own_pki.folder, ProfileName.SERVICE_CA).unlink()
    before = published(own_pki)[3]
    ends_at = refresh_crls(own_pki.folder, made_at + timedelta(days=1))
    assert published(own_pki)[3] == before
    assert ends_at == made_at + LIFE
    with pytest.raises(Untrusted, match="too soon"):
        refresh_crls(own_pki.folder, made_at + timedelta(days=3))


def test_without_key_and_list_nothing_is_published(own_pki: Pki, made_at: datetime) -> None:
    key_path(own_pki.folder, ProfileName.ROOT).unlink()
    crl_path(own_pki.folder, ProfileName.ROOT).unlink()
    with pytest.raises(Missing, match="sign-crl"):
        refresh_crls(own_pki.folder, made_at)


def test_the_root_s_list_is_renewed_in_time(own_pki: Pki, made_at: datetime) -> None:
    refresh_crls(own_pki.folder, made_at + ROOT_LIFE * 0.6)
    assert published(own_pki)[0].next_update_utc == made_at + ROOT_LIFE * 0.6 + ROOT_LIFE
    assert number_of(sign_root_crl(load_pki(own_pki.folder), made_at)) > number_of(published(own_pki)[0])


def test_a_list_needs_a_number_and_an_end(pki: Pki, made_at: datetime) -> None:
    issuer = pki.issuer(ProfileName.DEVICE_CA)
    bare = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    bare = bare.last_update(made_at).next_update(made_at + LIFE)
    with pytest.raises(Untrusted, match="no number"):
        check_crl(bare.sign(issuer.key, hashes.SHA256()), issuer.certificate, now=made_at)
    assert load_crl(pki.folder / "nowhere") is None


@pytest.mark.parametrize("name", [ProfileName.ROOT, *ISSUING])
def test_pkilint_finds_nothing(pki: Pki, name: ProfileName) -> None:
    linter = Path(sys.executable).parent / "lint_crl"
    command = [str(linter), "lint", "-t", "CRL", "-p", "PKIX", "-s", "NOTICE", "-f", "TEXT", str(crl_path(pki.folder, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "", "")


def test_openssl_refuses_who_is_on_the_list(own_pki: Pki, made_at: datetime, tmp_path: Path) -> None:
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(issue_service_certificate(own_pki, "svc-core", now=made_at).chain_pem)
    serial = x509.load_pem_x509_certificates(leaf.read_bytes())[0].serial_number
    command = ["openssl", "verify", "-x509_strict", "-crl_check", "-attime", str(int(made_at.timestamp()) + 60)]
    command += ["-CRLfile", str(own_pki.crl_file), "-CAfile", str(own_pki.folder / "trust" / "clients.pem"), str(leaf)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    crl = build_crl(own_pki.issuer(ProfileName.SERVICE_CA), number=7, now=made_at, entries=[revoked(serial, made_at)])
    save(own_pki, ProfileName.SERVICE_CA, crl)
    refresh_crls(own_pki.folder, made_at)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "certificate revoked" in done.stderr

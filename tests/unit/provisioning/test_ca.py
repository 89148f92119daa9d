"""A PKI is made whole or not at all, is never overwritten, and takes nothing from an offline root that does not fit."""

import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.ca import (
    create_pki,
    import_issuing,
    init_issuing,
    init_root,
    issue_server_certificate,
    issue_service_certificate,
    load_pki,
    request_issuing,
    sign_issuing,
)
from provisioning.errors import Missing, Rejected, Untrusted
from provisioning.pki import ISSUING, Pki, certificate_path, key_path
from provisioning.profile import ProfileName


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_is_as_documented_and_only_owners_read_keys(own_pki: Pki) -> None:
    modes = {str(p.relative_to(own_pki.folder)): stat.S_IMODE(p.stat().st_mode) for p in own_pki.folder.rglob("*") if p.is_file()}
    keys = {f"{name}.key.pem" for name in (ProfileName.ROOT, *ISSUING)}
    assert {name for name in modes if not name.startswith("crl/")} == keys | {f"{name}.pem" for name in (ProfileName.ROOT, *ISSUING)} | {
        "trust/devices.pem",
        "trust/clients.pem",
        "trust/servers.pem",
        "trust/all.crl.pem",
    }
    assert {name: mode for name, mode in modes.items() if mode != 0o644} == {**dict.fromkeys(keys, 0o600), "crl/.lock": 0o600}


def test_trust_holds_the_root_and_who_issues(own_pki: Pki) -> None:
    def trusted(name: str) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates((own_pki.folder / "trust" / name).read_bytes())

    root, device, server, service = (own_pki.certificate(n) for n in (ProfileName.ROOT, *ISSUING))
    assert trusted("devices.pem") == [root, device]
    assert trusted("clients.pem") == [root, device, service]
    assert trusted("servers.pem") == [root, server]


def test_a_chain_is_the_leaf_and_its_issuer(own_pki: Pki) -> None:
    chain, key = issue_service_certificate(own_pki, "svc-core")
    leaf, issuer = x509.load_pem_x509_certificates(chain)
    leaf.verify_directly_issued_by(issuer)
    assert issuer == own_pki.certificate(ProfileName.SERVICE_CA)
    assert serialization.load_pem_private_key(key, None).public_key() == leaf.public_key()


def test_a_folder_in_use_is_never_overwritten(own_pki: Pki) -> None:
    before = files(own_pki.folder)
    for local_root in (True, False):
        with pytest.raises(Rejected, match="not empty"):
            create_pki(own_pki.folder, "Other", local_root=local_root)
    with pytest.raises(Rejected, match="not empty"):
        init_root(own_pki.folder, "Other", passphrase=None)
    assert files(own_pki.folder) == before


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejected, match="organisation"):
        create_pki(tmp_path / "pki", "a\nb", local_root=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("provisioning.ca.refresh_crls", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        create_pki(tmp_path / "pki", "Lumpini", local_root=True)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected, match="cannot be written"):
        create_pki(tmp_path / "file" / "pki", "Lumpini", local_root=True)


def test_issuing_goes_on_where_it_stopped(own_pki: Pki, made_at: datetime) -> None:
    device = own_pki.certificate(ProfileName.DEVICE_CA)
    certificate_path(own_pki.folder, ProfileName.SERVICE_CA).unlink()
    key_path(own_pki.folder, ProfileName.SERVICE_CA).unlink()
    (own_pki.folder / "crl" / "service-ca.crl.pem").unlink()
    again = init_issuing(own_pki.folder, now=made_at)
    assert again.is_signed
    assert again.certificate(ProfileName.DEVICE_CA) == device


def test_an_encrypted_root_needs_its_passphrase(tmp_path: Path, made_at: datetime) -> None:
    pki = create_pki(tmp_path / "pki", "Lumpini", local_root=True, passphrase=b"correct horse", now=made_at)
    assert b"ENCRYPTED" in key_path(pki.folder, ProfileName.ROOT).read_bytes()
    assert ProfileName.ROOT not in pki.keys
    assert load_pki(pki.folder, passphrase=b"correct horse").issuer(ProfileName.ROOT)
    with pytest.raises(Missing, match="passphrase"):
        pki.issuer(ProfileName.ROOT)
    with pytest.raises(Rejected, match="wrong passphrase"):
        load_pki(pki.folder, passphrase=b"wrong")


# The offline root


@pytest.fixture
def offline(tmp_path: Path, made_at: datetime) -> Pki:
    return init_root(tmp_path / "offline", "Royal Thai Police", passphrase=b"secret", now=made_at)


def test_the_offline_way(tmp_path: Path, offline: Pki, made_at: datetime) -> None:
    server = create_pki(tmp_path / "pki", "ignored", local_root=False)
    assert not server.is_signed
    with pytest.raises(Missing, match="not signed yet"):
        issue_server_certificate(server, [])
    carried = server.folder / "requests"
    assert not any(b"PRIVATE" in data for data in files(carried).values())
    written = sign_issuing(offline.folder, carried, passphrase=b"secret", now=made_at)
    assert {p.name for p in written} == {"device-ca.pem", "server-ca.pem", "service-ca.pem", "root.pem", "root.crl.pem"}
    signed = import_issuing(server.folder, carried, now=made_at)
    assert signed.is_signed
    assert signed.organisation == "Royal Thai Police"
    assert not key_path(server.folder, ProfileName.ROOT).exists()
    x509.load_pem_x509_certificates(issue_server_certificate(signed, [], now=made_at).chain_pem)
    assert len(x509.load_pem_x509_certificates((server.folder / "trust" / "clients.pem").read_bytes())) == 3
    assert import_issuing(server.folder, carried, now=made_at).certificates == signed.certificates


def test_requesting_twice_keeps_the_keys(tmp_path: Path) -> None:
    server = create_pki(tmp_path / "pki", "ignored", local_root=False)
    request_issuing(server.folder)
    assert load_pki(server.folder).keys[ProfileName.DEVICE_CA].private_numbers() == server.keys[ProfileName.DEVICE_CA].private_numbers()


def test_a_request_for_more_than_the_profile_gets_the_profile(tmp_path: Path, offline: Pki, made_at: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Evil Root")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=7), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "server-ca.csr.pem").write_bytes(greedy.public_bytes(serialization.Encoding.PEM))
    sign_issuing(offline.folder, tmp_path, passphrase=b"secret", now=made_at)
    signed = x509.load_pem_x509_certificate((tmp_path / "server-ca.pem").read_bytes())
    assert signed.subject.rfc4514_string() == "CN=Fleet Server CA S1,O=Royal Thai Police"
    assert signed.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


@pytest.mark.parametrize("body", [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"])
def test_a_bad_request_is_not_signed(tmp_path: Path, offline: Pki, body: bytes) -> None:
    (tmp_path / "device-ca.csr.pem").write_bytes(body)
    with pytest.raises(Rejected, match="does not hold a certificate request"):
        sign_issuing(offline.folder, tmp_path, passphrase=b"secret")


def test_no_requests_is_said_so(tmp_path: Path, offline: Pki) -> None:
    with pytest.raises(Missing, match="no requests"):
        sign_issuing(offline.folder, tmp_path, passphrase=b"secret")


def _swap(name: str, source: str) -> Callable[[Path], int]:
    return lambda carried: (carried / name).write_bytes((carried / source).read_bytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_swap("device-ca.pem", "server-ca.pem"), "does not have that profile"),
        (_swap("device-ca.pem", "service-ca.pem"), "not for the key"),
        (_swap("root.pem", "device-ca.pem"), "not one that this root signed"),
    ],
)
def test_what_does_not_fit_is_not_imported(
    tmp_path: Path, offline: Pki, made_at: datetime, spoil: Callable[[Path], int], message: str
) -> None:
    server = create_pki(tmp_path / "pki", "ignored", local_root=False)
    carried = server.folder / "requests"
    sign_issuing(offline.folder, carried, passphrase=b"secret", now=made_at)
    spoil(carried)
    with pytest.raises(Untrusted, match=message):
        import_issuing(server.folder, carried, now=made_at)
    assert not load_pki(server.folder).is_signed


@pytest.mark.parametrize(("ahead", "message"), [(timedelta(hours=7), "good only from"), (-25 * timedelta(days=365), "ended on")])
def test_what_a_machine_with_a_wrong_clock_signed_is_not_imported(
    tmp_path: Path, made_at: datetime, ahead: timedelta, message: str
) -> None:
    server, root = create_pki(tmp_path / "pki", "ignored", local_root=False), tmp_path / "root"
    init_root(root, "Royal Thai Police", passphrase=b"secret", now=made_at + ahead)
    sign_issuing(root, server.folder / "requests", passphrase=b"secret", now=made_at + ahead)
    with pytest.raises(Rejected, match=message):
        import_issuing(server.folder, server.folder / "requests", now=made_at)
    assert load_pki(server.folder).certificates == {}


def test_another_root_is_not_imported(own_pki: Pki, offline: Pki, made_at: datetime) -> None:
    request_issuing(own_pki.folder)
    sign_issuing(offline.folder, own_pki.folder / "requests", passphrase=b"secret", now=made_at)
    with pytest.raises(Untrusted, match="another root"):
        import_issuing(own_pki.folder, own_pki.folder / "requests", now=made_at)


# Loading


def test_no_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no PKI"):
        load_pki(tmp_path / "nowhere")


def test_a_key_of_another_is_noticed(own_pki: Pki) -> None:
    key_path(own_pki.folder, ProfileName.SERVER_CA).write_bytes(key_path(own_pki.folder, ProfileName.DEVICE_CA).read_bytes())
    with pytest.raises(Untrusted, match="not the key of"):
        load_pki(own_pki.folder)


def test_a_ca_of_another_root_is_noticed(own_pki: Pki, pki: Pki) -> None:
    certificate_path(own_pki.folder, ProfileName.SERVER_CA).write_bytes(certificate_path(pki.folder, ProfileName.SERVER_CA).read_bytes())
    with pytest.raises(Untrusted, match="not one that this root signed"):
        load_pki(own_pki.folder)


@pytest.mark.parametrize(("name", "message"), [("device-ca.pem", "PEM certificate"), ("device-ca.key.pem", "PEM private key")])
def test_garbage_is_noticed(own_pki: Pki, name: str, message: str) -> None:
    (own_pki.folder / name).write_bytes(b"garbage")
    with pytest.raises(Rejected, match=message):
        load_pki(own_pki.folder)


def test_a_process_without_the_key_cannot_sign(own_pki: Pki, made_at: datetime) -> None:
    key_path(own_pki.folder, ProfileName.SERVER_CA).unlink()
    with pytest.raises(Missing, match="key of the server-ca"):
        issue_server_certificate(load_pki(own_pki.folder), [], now=made_at + timedelta(days=1))

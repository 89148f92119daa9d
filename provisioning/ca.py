"""Makes CAs and the certificates of servers and services. What is made, is made whole or not at all.

Two ways to a root. *Local*: `create_pki(…, local_root=True)`, all on one machine. *Offline*: `init_root` on a machine
that never sees a network; `create_pki(…, local_root=False)` on the server makes keys and requests; `sign_issuing` on the
offline machine; `import_issuing` on the server. The key of the root never travels.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.crl import check_crl, load_crl, refresh_crls, sign_root_crl
from provisioning.errors import UNREADABLE, Missing, Rejected, Untrusted
from provisioning.files import SECRET, sync_folder, write_file
from provisioning.pki import (
    ISSUING,
    Pki,
    certificate_path,
    check_ca,
    crl_path,
    key_path,
    load_pki,
    organisation_of,
    pem,
    read_certificate,
    read_file,
    request_path,
)
from provisioning.profile import PROFILES, Issuer, Names, ProfileName, build, ca_names, check_time, server_names, service_names

__all__ = [
    "Credential",
    "Pki",
    "create_pki",
    "import_issuing",
    "init_issuing",
    "init_root",
    "issue_server_certificate",
    "issue_service_certificate",
    "load_pki",
    "request_issuing",
    "sign_issuing",
]

_COMMON_NAMES: Final = MappingProxyType(
    {
        ProfileName.ROOT: "Fleet Root R1",
        ProfileName.DEVICE_CA: "Fleet Device CA D1",
        ProfileName.SERVER_CA: "Fleet Server CA S1",
        ProfileName.SERVICE_CA: "Fleet Service CA V1",
    }
)


class Credential(NamedTuple):
    """A certificate with its key, as files want them: `chain_pem` is the leaf followed by its issuing CA."""

    chain_pem: bytes
    key_pem: bytes


def create_pki(folder: Path, organisation: str, *, local_root: bool, passphrase: bytes | None = None, now: datetime | None = None) -> Pki:
    """Make the PKI of a new fleet.

    Args:
        folder: where; must not exist, or be empty.
        organisation: stands in all names; 1 to 64 characters.
        local_root: make the root here. Otherwise only the keys of the issuing CAs and their requests are made, and the
            result `is_signed` only after `import_issuing`.
        passphrase: encrypts the local root's key; without it the key lies there readable by its owner.
        now: aware UTC; this machine's clock by default.

    Raises:
        Rejected: the folder is in use or cannot be written, or the organisation's name is not fit.
    """
    with _whole(folder) as new:
        if local_root:
            _make_root(new, organisation, passphrase, now or _now())
            init_issuing(new, passphrase=passphrase, now=now)
        else:
            request_issuing(new)
    return load_pki(folder)


def init_root(folder: Path, organisation: str, *, passphrase: bytes | None, now: datetime | None = None) -> Pki:
    """Make a root, alone in its folder, on a machine that stays offline.

    Raises:
        Rejected: the folder is in use or cannot be written, or the organisation's name is not fit.
    """
    with _whole(folder) as new:
        _make_root(new, organisation, passphrase, now or _now())
    return load_pki(folder, passphrase=passphrase)


def init_issuing(folder: Path, *, passphrase: bytes | None = None, now: datetime | None = None) -> Pki:
    """Make the issuing CAs beside a root whose key is here. Goes on where an interrupted run stopped.

    Raises:
        Missing: the root or its key is not here, or needs a passphrase.
        Rejected: the folder cannot be written.
    """
    now = now or _now()
    pki = load_pki(folder, passphrase=passphrase)
    root = pki.issuer(ProfileName.ROOT)
    for name in ISSUING:
        if name not in pki.certificates:
            key = pki.keys.get(name) or _make_key(folder, name, None)
            write_file(certificate_path(folder, name), pem(_issuing(name, key.public_key(), root, now)))
    return _published(folder, now)


def request_issuing(folder: Path) -> list[Path]:
    """Make the keys of the issuing CAs here, and requests that an offline root can sign; returns the requests' files.

    Raises:
        Rejected: a key is not usable, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Rejected(f"{folder} cannot be written: {error.strerror}.") from error
    pki = load_pki(folder)
    written = []
    for name in ISSUING:
        key = pki.keys.get(name) or _make_key(folder, name, None)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _COMMON_NAMES[name])])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        written.append(request_path(folder / "requests", name))
        write_file(written[-1], request.public_bytes(serialization.Encoding.PEM))
    return written


def sign_issuing(folder: Path, requests: Path, *, passphrase: bytes | None, now: datetime | None = None) -> list[Path]:
    """Sign, with the root of `folder`, the requests found in `requests`; the results are put there too.

    Names and everything else come from the profile and the root: of a request only its public key is used.

    Returns:
        The files written: a certificate for each request, the root's certificate and its list.

    Raises:
        Missing: the root's key or all requests are missing.
        Rejected: a request is not sound.
    """
    now = now or _now()
    pki = load_pki(folder, passphrase=passphrase)
    root = pki.issuer(ProfileName.ROOT)
    wanted = [name for name in ISSUING if request_path(requests, name).exists()]
    if not wanted:
        raise Missing(f"There are no requests in {requests}: bring the requests folder that fleet-ca init-issuing made on the server.")
    signed = {name: _issuing(name, _requested_key(request_path(requests, name)), root, now) for name in wanted}
    crl = sign_root_crl(pki, now)
    files = {certificate_path(requests, name): pem(certificate) for name, certificate in signed.items()}
    files[certificate_path(requests, ProfileName.ROOT)] = pem(root.certificate)
    files[requests / "root.crl.pem"] = crl.public_bytes(serialization.Encoding.PEM)
    for path, data in files.items():
        write_file(path, data)
    return list(files)


def import_issuing(folder: Path, signed: Path, *, now: datetime | None = None) -> Pki:
    """Take what the offline root signed into the server's `folder`, after checking all of it.

    Raises:
        Missing: something was not brought.
        Untrusted: a certificate is not of this root, of another profile, or not for the key that is here.
        Rejected: it was made by a machine whose clock was wrong.
    """
    now = now or _now()
    pki = load_pki(folder)
    root = read_certificate(certificate_path(signed, ProfileName.ROOT))
    check_ca(ProfileName.ROOT, root, root=None)
    if ProfileName.ROOT in pki.certificates and pki.root != root:
        raise Untrusted(f"{signed} is of another root than {folder}.")
    crl = load_crl(signed / "root.crl.pem")
    if crl is None:
        raise Missing(f"There is no root.crl.pem in {signed}.")
    check_crl(crl, root, now=now, is_root=True)
    issuing = {name: _brought(pki, name, signed, root) for name in ISSUING}
    for certificate in (root, *issuing.values()):
        check_time(certificate, now)
    write_file(crl_path(folder, ProfileName.ROOT), crl.public_bytes(serialization.Encoding.PEM))
    for name, certificate in {ProfileName.ROOT: root, **issuing}.items():
        write_file(certificate_path(folder, name), pem(certificate))
    return _published(folder, now)


def issue_server_certificate(pki: Pki, hosts: Sequence[str], *, now: datetime | None = None) -> Credential:
    """Make key and certificate of a server reached by `hosts` (DNS names, IP addresses; 127.0.0.1 is added).

    Raises:
        Missing: the server CA or its key is not here.
        Rejected: a host is not one.
    """
    return _issue_leaf(pki, ProfileName.SERVER, ProfileName.SERVER_CA, server_names(hosts), now or _now())


def issue_service_certificate(pki: Pki, name: str, *, now: datetime | None = None) -> Credential:
    """Make key and certificate of one of the server's own programs, such as `svc-core`.

    Raises:
        Missing: the service CA or its key is not here.
        Rejected: the name is not `svc-…`.
    """
    return _issue_leaf(pki, ProfileName.SERVICE, ProfileName.SERVICE_CA, service_names(pki.organisation, name), now or _now())


def _issue_leaf(pki: Pki, profile: ProfileName, ca: ProfileName, names: Names, now: datetime) -> Credential:
    issuer = pki.issuer(ca)
    key = ec.generate_private_key(PROFILES[profile].curve)
    certificate = build(PROFILES[profile], names, key.public_key(), issuer=issuer, now=now)
    return Credential(pem(certificate, issuer.certificate), _key_pem(key, None))


def _make_root(folder: Path, organisation: str, passphrase: bytes | None, now: datetime) -> None:
    names = ca_names(organisation, _COMMON_NAMES[ProfileName.ROOT])
    key = _make_key(folder, ProfileName.ROOT, passphrase)
    root = build(PROFILES[ProfileName.ROOT], names, key.public_key(), issuer=None, key=key, now=now)
    write_file(certificate_path(folder, ProfileName.ROOT), pem(root))
    sign_root_crl(load_pki(folder, passphrase=passphrase), now)


def _issuing(name: ProfileName, key: ec.EllipticCurvePublicKey, root: Issuer, now: datetime) -> x509.Certificate:
    names = ca_names(organisation_of(root.certificate), _COMMON_NAMES[name])
    return build(PROFILES[name], names, key, issuer=root, now=now)


def _published(folder: Path, now: datetime) -> Pki:
    """Write what verifiers read: who is trusted, and who no longer is."""
    pki = load_pki(folder)
    root, device, server, service = (pki.certificate(name) for name in (ProfileName.ROOT, *ISSUING))
    write_file(folder / "trust" / "devices.pem", pem(root, device))
    write_file(folder / "trust" / "clients.pem", pem(root, device, service))
    write_file(folder / "trust" / "servers.pem", pem(root, server))
    refresh_crls(folder, now)
    return pki


def _requested_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(read_file(path))
        key, is_sound = request.public_key(), request.is_signature_valid
    except UNREADABLE as error:
        raise Rejected(f"{path} does not hold a certificate request.") from error
    if not is_sound or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Rejected(f"{path} is not a sound request with a P-256 key.")
    return key


def _brought(pki: Pki, name: ProfileName, signed: Path, root: x509.Certificate) -> x509.Certificate:
    certificate = read_certificate(certificate_path(signed, name))
    check_ca(name, certificate, root=root)
    if name in pki.keys and pki.keys[name].public_key() != certificate.public_key():
        raise Untrusted(f"The certificate of the {name} in {signed} is not for the key in {pki.folder}.")
    return certificate


def _make_key(folder: Path, name: ProfileName, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(PROFILES[name].curve)
    write_file(key_path(folder, name), _key_pem(key, passphrase), SECRET)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of `folder` when the block ends well, and is gone when it does not.

    Raises:
        Rejected: `folder` holds something already, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise Rejected(f"{folder} is not empty: keys are never overwritten. Choose another folder, or move this one away.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise Rejected(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        yield new
        new.chmod(0o755)  # public but for the keys, which a broker of another user must not read
        new.replace(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _now() -> datetime:
    return datetime.now(UTC)

"""The folder that holds the fleet's CAs, and what is read from it.

    pki/root.pem                    root R1
    pki/root.key.pem                its key: encrypted, or plain in a small installation, or absent (kept offline)
    pki/device-ca.pem, .key.pem     D1, signs nodes        (likewise server-ca, service-ca)
    pki/requests/                   what goes to the offline root and what comes back
    pki/crl/device-ca.crl.pem       the newest list of each CA
    pki/trust/devices.pem           R1 + D1: who verifies nodes
    pki/trust/clients.pem           R1 + D1 + V1: who verifies nodes and the server's own programs (the broker)
    pki/trust/servers.pem           R1 + S1: who verifies servers (nodes)
    pki/trust/all.crl.pem           the lists of all CAs, one after the other

Keys are mode 0600, all else is public. Every file is replaced as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provisioning.errors import UNREADABLE, Missing, Rejected, Untrusted
from provisioning.profile import PROFILES, Issuer, ProfileName

ISSUING: Final = (ProfileName.DEVICE_CA, ProfileName.SERVER_CA, ProfileName.SERVICE_CA)
"""The CAs that the root signs."""


@dataclass(frozen=True, slots=True)
class Pki:
    """The CAs as far as they are here. Certificates are verified when read; keys may be elsewhere."""

    folder: Path
    certificates: Mapping[ProfileName, x509.Certificate]
    keys: Mapping[ProfileName, ec.EllipticCurvePrivateKey]

    @property
    def is_signed(self) -> bool:
        """Whether the root has signed all issuing CAs."""
        return all(name in self.certificates for name in (ProfileName.ROOT, *ISSUING))

    @property
    def root(self) -> x509.Certificate:
        """The root's certificate."""
        return self.certificate(ProfileName.ROOT)

    @property
    def organisation(self) -> str:
        """The organisation that all names of this fleet carry."""
        return organisation_of(self.root)

    @property
    def crl_file(self) -> Path:
        """The lists of all CAs, for `crlfile` of a broker."""
        return self.folder / "trust" / "all.crl.pem"

    def certificate(self, name: ProfileName) -> x509.Certificate:
        """Return a CA's certificate.

        Raises:
            Missing: it is not here (yet).
        """
        if name in self.certificates:
            return self.certificates[name]
        if name is ProfileName.ROOT:
            raise Missing(f"There is no root certificate in {self.folder}: make one with fleet-ca init-root, or bring it from offline.")
        raise Missing(f"The {name} in {self.folder} is not signed yet: take its requests folder to the root and run fleet-ca sign-issuing.")

    def issuer(self, name: ProfileName) -> Issuer:
        """Return a CA that can sign.

        Raises:
            Missing: its certificate or its key is not here.
        """
        certificate = self.certificate(name)
        if name not in self.keys:
            raise Missing(f"The key of the {name} is not in {self.folder}, or needs its passphrase.")
        return Issuer(certificate, self.keys[name])


def load_pki(folder: Path, *, passphrase: bytes | None = None) -> Pki:
    """Read the CAs of `folder`.

    Args:
        folder: the `pki` folder.
        passphrase: of the root's key; without it an encrypted root key counts as absent.

    Raises:
        Missing: the folder is not there.
        Untrusted: a certificate was not signed by the root, has the wrong profile, or its key belongs to another.
        Rejected: a file cannot be read as what it should be, or the passphrase is wrong.
    """
    if not folder.is_dir():
        raise Missing(f"There is no PKI at {folder}: make one with fleet init, or with fleet-ca init-root and init-issuing.")
    found = {name: read_certificate(path) for name in (ProfileName.ROOT, *ISSUING) if (path := certificate_path(folder, name)).exists()}
    keys = {}
    for name in (ProfileName.ROOT, *ISSUING):
        key = _read_key(key_path(folder, name), passphrase)
        if key is not None:
            keys[name] = key
    root = found.get(ProfileName.ROOT)
    for name, certificate in found.items():
        check_ca(name, certificate, root=root)
        if name in keys and keys[name].public_key() != certificate.public_key():
            raise Untrusted(f"{key_path(folder, name)} is not the key of {certificate_path(folder, name)}.")
    return Pki(folder, found, keys)


def check_ca(name: ProfileName, certificate: x509.Certificate, *, root: x509.Certificate | None) -> None:
    """See that a CA's certificate is what its profile says and that the root signed it.

    Raises:
        Untrusted: it is not.
    """
    try:
        certificate.verify_directly_issued_by(root if root is not None else certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = [e.value for e in certificate.extensions if isinstance(e.value, x509.ExtendedKeyUsage)]
    except (InvalidSignature, *UNREADABLE) as error:
        raise Untrusted(f"The certificate of the {name} is not one that this root signed.") from error
    profile = PROFILES[name]
    expected = [x509.ExtendedKeyUsage([profile.extended_key_usage])] if profile.extended_key_usage else []
    if not (constraints.ca and constraints.path_length == profile.path_length and usage.key_cert_sign and usage.crl_sign) or (
        extended != expected
    ):
        raise Untrusted(f"The certificate of the {name} does not have that profile.")


def certificate_path(folder: Path, name: ProfileName) -> Path:
    """Return where a CA's certificate is."""
    return folder / f"{name}.pem"


def key_path(folder: Path, name: ProfileName) -> Path:
    """Return where a CA's key is."""
    return folder / f"{name}.key.pem"


def crl_path(folder: Path, name: ProfileName) -> Path:
    """Return where a CA's newest list is."""
    return folder / "crl" / f"{name}.crl.pem"


def request_path(folder: Path, name: ProfileName) -> Path:
    """Return where an issuing CA's request for the root is."""
    return folder / f"{name}.csr.pem"


def read_certificate(path: Path) -> x509.Certificate:
    """Read one PEM certificate.

    Raises:
        Missing: there is no such file.
        Rejected: it holds something else.
    """
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except UNREADABLE as error:
        raise Rejected(f"{path} does not hold a PEM certificate.") from error


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        Missing: there is no such file.
        Rejected: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Missing(f"There is no file {path}.") from error
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}.") from error


def organisation_of(certificate: x509.Certificate) -> str:
    """Return the organisation that a CA names."""
    values = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(values[0].value) if values else ""


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates as PEM, one after the other."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _read_key(path: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey | None:
    """Return the key, or `None` where there is none or it is encrypted and no passphrase was given."""
    if not path.exists():
        return None
    data = read_file(path)
    is_encrypted = b"ENCRYPTED" in data
    if is_encrypted and passphrase is None:
        return None
    try:
        key = serialization.load_pem_private_key(data, passphrase if is_encrypted else None)
    except (ValueError, TypeError) as error:
        raise Rejected(f"{path} cannot be opened: " + ("wrong passphrase." if is_encrypted else "it is not a PEM private key.")) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Rejected(f"{path} holds a key of another kind than this fleet uses (P-256, P-384).")
    return key
